"""meet_people.py -- of encounters.py: cancels, retries and decisions against all that goes on."""

import uuid

from sessions import answers, same, test


# ---------------------------------------------------------------------- cancel


@test
def cancel_before_a_call_s_commit_stores_the_result(m):
    run, worker, token = m.claimed("send")
    same(answers(m.in_order(m.cancel(run), m.commit_call(worker, run, token))), ["cancelled", "stored"])
    same((m.run(run).status, m.calls(run)[0].status, m.ends(run)), ("cancelled", "succeeded", ["cancelled"]))


@test
def cancel_after_a_call_s_commit_ends_the_next_step(m):
    run, worker, token = m.claimed("send")
    same(answers(m.in_order(m.commit_call(worker, run, token), m.cancel(run))), ["ok", "cancelled"])
    same((m.run(run).step, m.calls(run)[0].status, m.ends(run)), (2, "succeeded", ["cancelled"]))


@test
def cancel_before_a_plan_s_commit_makes_it_stale(m):
    run, worker, token, claim = m.planning()
    same(answers(m.in_order(m.cancel(run), m.commit_plan(worker, run, token, claim, ["send"]))), ["cancelled", "stale"])
    same((m.run(run).open_calls, m.ends(run)), (0, ["cancelled"]))


@test
def cancel_before_a_final_answer_s_commit_is_the_end(m):
    run, worker, token, claim = m.planning()
    same(answers(m.in_order(m.cancel(run), m.commit_plan(worker, run, token, claim))), ["cancelled", "stale"])
    same(m.ends(run), ["cancelled"])


@test
def cancel_after_a_final_answer_s_commit_is_too_late(m):
    run, worker, token, claim = m.planning()
    same(answers(m.in_order(m.commit_plan(worker, run, token, claim), m.cancel(run))), ["ok", "ended"])
    same(m.ends(run), ["succeeded"])


@test
def cancel_before_a_call_s_claim_leaves_nothing_to_do(m):
    run = m.planned("send")
    same(answers(m.in_order(m.cancel(run), m.claim_call(m.worker("executor"), run, uuid.uuid4()))), ["cancelled", "done"])
    same(m.calls(run), [])


@test
def cancel_after_a_call_s_claim_makes_it_unknown_and_tells_the_holder(m):
    run, worker = m.planned("send"), m.worker("executor")
    same(answers(m.in_order(m.claim_call(worker, run, uuid.uuid4()), m.cancel(run))), ["yours", "cancelled"])
    same((m.calls(run)[0].status, m.calls(run)[0].error_code), ("unknown", "run_ended"))
    told = [r for r in m.look("SELECT * FROM pawl.heartbeat(%s,1)", worker) if r.what == "cancel"]
    same([(r.run_id, r.step, r.index) for r in told], [(run, 1, 0)])


@test
def cancel_before_a_plan_s_claim_leaves_nothing_to_do(m):
    run = m.new_run()
    same(answers(m.in_order(m.cancel(run), m.claim_plan(m.worker("planner"), run, uuid.uuid4()))), ["cancelled", "done"])


@test
def cancel_after_a_plan_s_claim_takes_it_and_tells_the_holder(m):
    run, worker = m.new_run(), m.worker("planner")
    same(answers(m.in_order(m.claim_plan(worker, run, uuid.uuid4()), m.cancel(run))), ["yours", "cancelled"])
    same(m.run(run).claim_by, None)
    told = [r for r in m.look("SELECT * FROM pawl.heartbeat(%s,1)", worker) if r.what == "cancel"]
    same([(r.run_id, r.step, r.index) for r in told], [(run, 1, -1)])


@test
def two_people_cancel_one_run(m):
    run, _, _ = m.claimed("send")
    same(answers(m.in_order(m.cancel(run), m.cancel(run))), ["cancelled", "ended"])
    same(m.ends(run), ["cancelled"])


@test
def cancel_before_the_death_of_a_holder_and_after_it(m):
    run, worker, _ = m.claimed("put")
    same(answers(m.in_order(m.cancel(run), m.declare_dead(worker))), ["cancelled", "dead"])
    same([(c.status, c.open) for c in m.calls(run)], [("unknown", False)])
    run, worker, _ = m.claimed("put")
    same(answers(m.in_order(m.declare_dead(worker), m.cancel(run))), ["dead", "cancelled"])
    same([(c.status, c.open) for c in m.calls(run)], [("unknown", False)])


# ---------------------------------------------------------------------- retry, decide


@test
def retry_waits_for_the_holder_of_a_cancelled_call(m):
    run, worker, token = m.claimed("send")
    m.do(m.cancel(run))
    same(answers(m.in_order(m.retry(run), m.commit_call(worker, run, token))), ["busy", "stored"])
    same(m.do(m.retry(run)).answer, "retried")


@test
def retry_just_after_the_holder_s_commit_takes_its_result(m):
    run, worker, token = m.claimed("send")
    m.do(m.cancel(run))
    same(answers(m.in_order(m.commit_call(worker, run, token), m.retry(run))), ["stored", "retried"])
    planner, again = m.worker("planner"), uuid.uuid4()
    claim = m.do(m.claim_plan(planner, run, again))
    m.do(m.commit_plan(planner, run, again, claim, ["send"]))
    same(m.do(m.claim_call(m.worker("executor"), run, uuid.uuid4())).ring_plan, 2)
    same([(c.epoch, c.status, c.copied_from) for c in m.calls(run)], [(1, "succeeded", None), (2, "succeeded", 1)])


@test
def two_people_retry_one_run(m):
    run = m.new_run()
    m.do(m.cancel(run))
    same(answers(m.in_order(m.retry(run), m.retry(run))), ["retried", "running"])
    same(m.run(run).epoch, 2)


@test
def retry_and_a_former_epoch_s_plan_do_not_meet(m):
    run, worker, token, claim = m.planning()
    m.do(m.cancel(run))
    same(answers(m.in_order(m.retry(run), m.commit_plan(worker, run, token, claim, ["send"]))), ["retried", "stale"])
    same((m.run(run).epoch, m.run(run).open_calls), (2, 0))


@test
def two_people_decide_one_call(m):
    run, worker, _ = m.claimed("wire")
    m.do(m.declare_dead(worker))
    same(answers(m.in_order(m.decide(run, True), m.decide(run, False))), ["decided", "no"])
    same((m.run(run).step, [c.status for c in m.calls(run)]), (2, ["succeeded"]))


@test
def a_decision_and_a_cancel(m):
    run, worker, _ = m.claimed("wire")
    m.do(m.declare_dead(worker))
    same(answers(m.in_order(m.cancel(run), m.decide(run, False))), ["cancelled", "no"])
    same([(c.status, c.open) for c in m.calls(run)], [("unknown", False)])


@test
def a_twin_s_claim_and_the_death_that_makes_its_twin_unknown(m):
    """First the death: the twin is held. First the claim: two calls that both were asked for are both under way."""
    run, worker, token = m.claimed("send", "send")
    m.look("UPDATE pawl.agent_step_content SET digest = 'd' WHERE run_id = %s RETURNING 1", run)
    m.look("UPDATE pawl.agent_actions SET digest = 'd' WHERE run_id = %s RETURNING 1", run)
    same(answers(m.in_order(m.declare_dead(worker), m.claim_call(m.worker("executor"), run, uuid.uuid4(), 1))), ["dead", "no"])
    same([c.status for c in m.calls(run)], ["unknown", "awaiting_decision"])
    same(m.do(m.commit_call(worker, run, token)).answer, "ok")
