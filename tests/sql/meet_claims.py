"""meet_claims.py -- of encounters.py: claims against claims, and against the deaths of their workers."""

import uuid

from sessions import answers, same, test


# ---------------------------------------------------------------------- claims


@test
def two_planners_claim_one_step(m):
    run, a, b = m.new_run(), m.worker("planner"), m.worker("planner")
    same(answers(m.in_order(m.claim_plan(a, run, uuid.uuid4()), m.claim_plan(b, run, uuid.uuid4()))), ["yours", "busy"])
    same((m.run(run).claim_by, m.run(run).version), (a, 1))


@test
def three_planners_claim_one_step(m):
    run, workers = m.new_run(), [m.worker("planner") for _ in range(3)]
    same(answers(m.in_order(*[m.claim_plan(w, run, uuid.uuid4()) for w in workers])), ["yours", "busy", "busy"])
    same(m.run(run).claim_by, workers[0])


@test
def two_executors_claim_one_call(m):
    run, a, b = m.planned("send"), m.worker("executor"), m.worker("executor")
    same(answers(m.in_order(m.claim_call(a, run, uuid.uuid4()), m.claim_call(b, run, uuid.uuid4()))), ["yours", "busy"])
    same([(c.version, c.claim_by) for c in m.calls(run)], [(1, a)])


@test
def three_executors_claim_one_call(m):
    run, workers = m.planned("send"), [m.worker("executor") for _ in range(3)]
    same(answers(m.in_order(*[m.claim_call(w, run, uuid.uuid4()) for w in workers])), ["yours", "busy", "busy"])
    same([c.claim_by for c in m.calls(run)], [workers[0]])


@test
def a_claim_that_is_rolled_back_leaves_the_step_to_the_next(m):
    run, a, b = m.new_run(), m.worker("planner"), m.worker("planner")
    same(m.undone(m.claim_plan(a, run, uuid.uuid4()), m.claim_plan(b, run, uuid.uuid4()))[0].answer, "yours")
    same((m.run(run).claim_by, m.run(run).version), (b, 1))


@test
def a_claim_that_is_rolled_back_leaves_the_call_to_the_next(m):
    run, a, b = m.planned("send"), m.worker("executor"), m.worker("executor")
    same(m.undone(m.claim_call(a, run, uuid.uuid4()), m.claim_call(b, run, uuid.uuid4()))[0].answer, "yours")
    same([(c.version, c.claim_by) for c in m.calls(run)], [(1, b)])


@test
def a_claim_asked_for_again_while_it_is_under_way_is_one_claim(m):
    run, worker, token = m.planned("send"), m.worker("executor"), uuid.uuid4()
    first, again = m.in_order(m.claim_call(worker, run, token), m.claim_call(worker, run, token))
    same([(r[0].answer, r[0].version, r[0].key) for r in (first, again)], [("yours", 1, first[0].key)] * 2)
    same(len(m.calls(run)), 1)


@test
def a_planner_s_claim_asked_for_again_while_it_is_under_way_is_one_claim(m):
    run, worker, token = m.new_run(), m.worker("planner"), uuid.uuid4()
    first, again = m.in_order(m.claim_plan(worker, run, token), m.claim_plan(worker, run, token))
    same([(r[0].answer, r[0].version) for r in (first, again)], [("yours", 1)] * 2)


# ---------------------------------------------------- a claim while its worker is declared dead


@test
def a_plan_s_claim_before_its_worker_is_declared_dead_is_freed(m):
    run, worker = m.new_run(), m.worker("planner")
    same(answers(m.in_order(m.claim_plan(worker, run, uuid.uuid4()), m.declare_dead(worker))), ["yours", "dead"])
    row = m.run(run)
    same((row.claim_by, row.deaths, row.due_at is not None), (None, 1, True))


@test
def a_plan_s_claim_after_its_worker_is_declared_dead_is_refused(m):
    run, worker = m.new_run(), m.worker("planner")
    same(answers(m.in_order(m.declare_dead(worker), m.claim_plan(worker, run, uuid.uuid4()))), ["dead", "dead"])
    same((m.run(run).claim_by, m.run(run).version), (None, 0))


@test
def a_call_s_claim_before_its_worker_is_declared_dead_is_settled(m):
    run, worker = m.planned("send", "put"), m.worker("executor")
    same(answers(m.in_order(m.claim_call(worker, run, uuid.uuid4()), m.declare_dead(worker))), ["yours", "dead"])
    same([(c.status, c.open) for c in m.calls(run)], [("unknown", False)])
    same(m.run(run).open_calls, 1)


@test
def a_call_s_claim_after_its_worker_is_declared_dead_is_refused(m):
    run, worker = m.planned("send"), m.worker("executor")
    same(answers(m.in_order(m.declare_dead(worker), m.claim_call(worker, run, uuid.uuid4()))), ["dead", "dead"])
    same(m.calls(run), [])


@test
def a_claim_that_waits_for_its_run_holds_up_its_worker_s_death(m):
    """The claim has the worker's row and waits for the run's; the death waits for the worker's; nothing slips through."""
    run, a, b = m.planned("send"), m.worker("executor"), m.worker("executor")
    m.one.begin()
    m.one.ask("SELECT 1 FROM pawl.agent_runs WHERE run_id = %s FOR NO KEY UPDATE", run)
    sql, args = m.claim_call(a, run, uuid.uuid4())
    claim = m.two.start(sql, *args)
    m.two.waits_for(claim, m.one)
    sql, args = m.declare_dead(a)
    death = m.three.start(sql, *args)
    m.three.waits_for(death, m.two)
    m.one.commit()
    same((claim.rows()[0].answer, death.rows()[0].answer), ("yours", "dead"))
    same([(c.status, c.open) for c in m.calls(run)], [("unknown", False)])
    same(m.do(m.claim_call(b, run, uuid.uuid4())).answer, "done")


@test
def two_observers_declare_one_worker_dead(m):
    run, worker, _, _ = m.planning()
    same(answers(m.in_order(m.declare_dead(worker), m.declare_dead(worker))), ["dead", "gone"])
    same(m.run(run).deaths, 1)


@test
def a_beat_before_its_worker_is_declared_dead_saves_it(m):
    run, worker, _, _ = m.planning()
    beat, death = m.in_order(("SELECT * FROM pawl.heartbeat(%s,1)", (worker,)), m.declare_dead(worker))
    same(([r.state for r in beat if r.what == "self"], death[0].answer), (["alive"], "alive"))
    same(m.run(run).claim_by, worker)


@test
def a_beat_after_its_worker_is_declared_dead_says_so(m):
    run, worker, _, _ = m.planning()
    _, beat = m.in_order(m.declare_dead(worker), ("SELECT * FROM pawl.heartbeat(%s,1)", (worker,)))
    same([r.state for r in beat if r.what == "self"], ["dead"])
    same(m.run(run).claim_by, None)


# ---------------------------------------------------------------------- batches


def claim_plans_of(worker, runs):
    return "SELECT * FROM pawl.claim_plans(%s,%s,%s,true)", (worker, [uuid.uuid4() for _ in runs], runs)


def claim_calls_of(worker, runs):
    n = len(runs)
    return ("SELECT * FROM pawl.claim_actions(%s,%s,%s,%s,%s,true,'{}')",
            (worker, [uuid.uuid4() for _ in runs], runs, [1] * n, [0] * n))


@test
def two_batches_in_opposite_orders_share_their_steps(m):
    runs = [m.new_run() for _ in range(3)]
    first, second = m.in_order(claim_plans_of(m.worker("planner"), runs[:2]), claim_plans_of(m.worker("planner"), runs[::-1]))
    same([r.answer for r in first], ["yours", "yours"])
    same([r.answer for r in sorted(second, key=lambda r: r.item)], ["yours", "busy", "busy"])


@test
def two_batches_in_opposite_orders_share_their_calls(m):
    runs = [m.planned("send") for _ in range(3)]
    first, second = m.in_order(claim_calls_of(m.worker("executor"), runs[:2]), claim_calls_of(m.worker("executor"), runs[::-1]))
    same([r.answer for r in first], ["yours", "yours"])
    same([r.answer for r in sorted(second, key=lambda r: r.item)], ["yours", "busy", "busy"])


def waits_with_empty_hands(m, statement, low, high):
    """While it waits for the run with the lower id, it does not hold the other one: so no two can wait for each other."""
    take = "SELECT 1 FROM pawl.agent_runs WHERE run_id = %s FOR NO KEY UPDATE"
    m.one.begin()
    m.one.ask(take, low)
    late = m.two.start(statement[0], *statement[1])
    m.two.waits_for(late, m.one)
    m.three.ask(take + " NOWAIT", high)
    m.one.commit()
    return late.rows()


@test
def a_batch_of_plans_locks_its_runs_in_the_one_order(m):
    low, high = sorted([m.new_run(), m.new_run()])
    same([r.answer for r in waits_with_empty_hands(m, claim_plans_of(m.worker("planner"), [high, low]), low, high)], ["yours"] * 2)


@test
def a_batch_of_calls_locks_its_runs_in_the_one_order(m):
    low, high = sorted([m.planned("send"), m.planned("send")])
    same([r.answer for r in waits_with_empty_hands(m, claim_calls_of(m.worker("executor"), [high, low]), low, high)], ["yours"] * 2)


@test
def cancel_of_many_locks_its_runs_in_the_one_order(m):
    low, high = sorted([m.new_run(), m.new_run()])
    cancel = "SELECT * FROM pawl.cancel(%s,'ann',NULL)", ([high, low],)
    same([r.answer for r in waits_with_empty_hands(m, cancel, low, high)], ["cancelled"] * 2)


@test
def a_death_locks_its_runs_in_the_one_order(m):
    low, high = sorted([m.new_run(), m.new_run()])
    worker = m.worker("planner")
    for run in (high, low):
        m.do(m.claim_plan(worker, run, uuid.uuid4()))
    same([r.answer for r in waits_with_empty_hands(m, m.declare_dead(worker), low, high)], ["dead"])
