"""meet_budgets.py -- of encounters.py: what runs may spend, when claims, commits, deaths and people meet."""

import uuid

from sessions import answers, same, test


def limited(m, tokens, children=0):
    """A run that may use so many tokens, and children of it; a call uses two, and needs no more."""
    agent = "meet"
    run = m.look("SELECT run_id FROM pawl.accept(NULL,ARRAY['meet'],ARRAY[%s],ARRAY['x'::bytea],ARRAY[%s],ARRAY['t'],ARRAY['meet'],ARRAY['\"go\"'],"
                 "ARRAY[NULL],ARRAY[NULL]::timestamptz[],ARRAY[NULL]::timestamptz[],'meet',0,p_tokens_max => ARRAY[%s]::bigint[])",
                 str(uuid.uuid4()), agent, tokens)[0].run_id
    kids = m.look("INSERT INTO pawl.agent_runs (run_id, root_id, parent_id, parent_step, parent_index, revision, agent, tenant, class, due_at, deadline, "
                  "budgeted) SELECT pawl.uuid7_at(r.created_at), r.root_id, r.run_id, 1, n, r.revision, r.agent, r.tenant, r.class, clock_timestamp(), "
                  "r.deadline, true FROM pawl.agent_runs r, generate_series(1, %s) n WHERE r.run_id = %s RETURNING run_id", children, run)
    m.look("INSERT INTO pawl.place_notes VALUES ('meet', 't', %s, 0) RETURNING 1", children)  # each child holds a place
    m.look("INSERT INTO pawl.call_sizes SELECT revision, 2, 1 FROM pawl.agent_runs WHERE run_id = %s ON CONFLICT (revision) DO UPDATE SET tokens = 2 RETURNING 1", run)
    return [run] + [k.run_id for k in kids]


def claimed(m, run):
    worker, token = m.worker("planner"), uuid.uuid4()
    return worker, token, m.do(m.claim_plan(worker, run, token))


def budget(m, run):
    row = m.look("SELECT b.tokens_spent, b.tokens_held, b.tokens_guessed FROM pawl.budgets b JOIN pawl.agent_runs r USING (root_id) WHERE r.run_id = %s", run)[0]
    return tuple(row)


def resume(run, tokens):
    return "SELECT * FROM pawl.resume(%s,%s,NULL,'ann')", (run, tokens)


def spend(m, run, tokens):
    m.look("UPDATE pawl.budgets SET tokens_spent = %s WHERE root_id = %s RETURNING 1", tokens, run)


@test
def a_plan_s_commit_before_its_worker_is_declared_dead_has_spent_what_it_cost(m):
    run = limited(m, 100)[0]
    worker, token, claim = claimed(m, run)
    same(budget(m, run), (0, 2, 0))
    same(answers(m.in_order(m.commit_plan(worker, run, token, claim, ["put"]), m.declare_dead(worker))), ["ok", "dead"])
    same(budget(m, run), (2, 0, 0))


@test
def a_plan_s_commit_after_its_worker_is_declared_dead_has_spent_its_reservation_once(m):
    run = limited(m, 100)[0]
    worker, token, claim = claimed(m, run)
    same(answers(m.in_order(m.declare_dead(worker), m.commit_plan(worker, run, token, claim, ["put"]))), ["dead", "stale"])
    same(budget(m, run), (2, 0, 2))


@test
def a_claim_with_a_budget_before_its_worker_is_declared_dead_is_settled_once(m):
    run, worker = limited(m, 100)[0], m.worker("planner")
    same(answers(m.in_order(m.claim_plan(worker, run, uuid.uuid4()), m.declare_dead(worker))), ["yours", "dead"])
    same(budget(m, run), (2, 0, 2))
    other = m.worker("planner")
    same(m.do(m.claim_plan(other, run, uuid.uuid4())).answer, "yours")
    m.do(m.declare_dead(worker))  # again: it holds nothing any more
    same(budget(m, run), (2, 2, 2))


@test
def a_claim_with_a_budget_that_is_rolled_back_reserves_nothing(m):
    run, a, b = limited(m, 100)[0], m.worker("planner"), m.worker("planner")
    same(m.undone(m.claim_plan(a, run, uuid.uuid4()), m.claim_plan(b, run, uuid.uuid4()))[0].answer, "yours")
    same(budget(m, run), (0, 2, 0))


@test
def two_claims_at_the_limit_of_their_tree_are_one(m):
    run, kid = limited(m, 3, 1)
    one, two = m.worker("planner"), m.worker("planner")
    same(answers(m.in_order(m.claim_plan(one, run, uuid.uuid4()), m.claim_plan(two, kid, uuid.uuid4()))), ["yours", "later"])
    same(budget(m, run), (0, 2, 0))
    run, kid = limited(m, 4, 1)  # there is room for both
    same(answers(m.in_order(m.claim_plan(one, kid, uuid.uuid4()), m.claim_plan(two, run, uuid.uuid4()))), ["yours", "yours"])
    same(budget(m, run), (0, 4, 0))


@test
def a_claim_waits_for_a_commit_that_spends_the_rest(m):
    run, kid = limited(m, 2, 1)
    worker, token, claim = claimed(m, run)
    other = m.worker("planner")
    same(answers(m.in_order(m.commit_plan(worker, run, token, claim, ["put"]), m.claim_plan(other, kid, uuid.uuid4()))), ["ok", "no"])
    same((m.run(kid).status, budget(m, run)), ("suspended", (2, 0, 0)))


@test
def a_cancel_and_a_commit_settle_a_claim_once(m):
    for first in ("cancel", "commit"):
        run = limited(m, 100)[0]
        worker, token, claim = claimed(m, run)
        pair = [m.cancel(run), m.commit_plan(worker, run, token, claim, ["put"])]
        same(answers(m.in_order(*(pair if first == "cancel" else pair[::-1]))), ["cancelled", "stale"] if first == "cancel" else ["ok", "cancelled"])
        same(budget(m, run), (2, 0, 2) if first == "cancel" else (2, 0, 0))


@test
def a_commit_and_a_resume(m):
    for first in ("commit", "resume"):
        run = limited(m, 2)[0]
        worker, token, claim = claimed(m, run)
        pair = [m.commit_plan(worker, run, token, claim, ["put"]), resume(run, 50)]
        same(answers(m.in_order(*(pair if first == "commit" else pair[::-1]))), ["ok", "resumed"] if first == "commit" else ["resumed", "ok"])
        same((m.run(run).status, budget(m, run)), ("running", (2, 0, 0)))


@test
def a_claim_that_suspends_before_a_resume_is_woken_by_it(m):
    run = limited(m, 2)[0]
    spend(m, run, 5)
    claim, raised = m.in_order(m.claim_plan(m.worker("planner"), run, uuid.uuid4()), resume(run, 50))
    same((claim[0].answer, raised[0].answer, raised[0].runs), ("no", "resumed", 1))
    same((m.run(run).status, m.do(m.claim_plan(m.worker("planner"), run, uuid.uuid4())).answer), ("running", "yours"))


@test
def a_claim_after_a_resume_reads_the_new_limit(m):
    run = limited(m, 2)[0]
    spend(m, run, 5)
    same(answers(m.in_order(resume(run, 50), m.claim_plan(m.worker("planner"), run, uuid.uuid4()))), ["resumed", "yours"])


@test
def two_people_resume_one_tree(m):
    run = limited(m, 2)[0]
    spend(m, run, 5)
    m.do(m.claim_plan(m.worker("planner"), run, uuid.uuid4()))
    first, second = m.in_order(resume(run, 50), resume(run, 60))
    same([(first[0].answer, first[0].runs), (second[0].answer, second[0].runs)], [("resumed", 1), ("resumed", 0)])


@test
def a_claim_that_suspends_at_a_tenant_s_limit_holds_up_whoever_raises_it(m):
    """So that the wake-up after it finds the run."""
    run = m.new_run()
    day = ("SELECT pawl.set_budget('t',%s,NULL,'ann') AS answer", (1,))
    m.do(day)
    m.look("INSERT INTO pawl.tenant_days VALUES ('t', pawl.budget_day(), 0, 0, 0, 5, 0) ON CONFLICT DO NOTHING RETURNING 1")
    try:
        same(answers(m.in_order(m.claim_plan(m.worker("planner"), run, uuid.uuid4()), (day[0], (1000,)))), ["no", "set"])
        same(m.look("SELECT pawl.wake_tenant('t') AS runs")[0].runs, 1)
        same(m.do(m.claim_plan(m.worker("planner"), run, uuid.uuid4())).answer, "yours")
        # and the other way round: the claim reads what is new
        m.do((day[0], (1,)))
        run = m.new_run()
        m.one.begin()
        m.one.ask(day[0], 1000)
        claim = m.claim_plan(m.worker("planner"), run, uuid.uuid4())
        late = m.two.start(claim[0], *claim[1])
        m.two.waits_for(late, m.one)
        m.one.commit()
        same((late.rows()[0].answer, m.run(run).status), ("later", "running"))
    finally:
        m.one.roll_back()
        m.look("SELECT pawl.set_budget('t',NULL,NULL,'ann')")
