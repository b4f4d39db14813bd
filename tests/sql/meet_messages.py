"""meet_messages.py -- of encounters.py: what people say to a run against the claims and commits of its planner."""

import uuid

from sessions import answers, same, test


def send(run, text="listen"):
    return "SELECT * FROM pawl.send(%s,%s,'ann')", (run, text)


def said(m, run, known=0):
    """(after which step, what) of each message in the next prompt."""
    rows = m.look("SELECT * FROM pawl.read_steps(ARRAY[%s],ARRAY[%s])", run, known)
    return [(row.step, row.content) for row in rows if row.kind == "said"]


@test
def a_message_before_a_final_answer_s_commit_keeps_the_run_going(m):
    run, worker, token, claim = m.planning()
    same(answers(m.in_order(send(run), m.commit_plan(worker, run, token, claim))), ["sent", "ok"])
    same((m.run(run).status, m.run(run).step, m.ends(run)), ("running", 2, []))
    again = uuid.uuid4()
    same(m.do(m.claim_plan(worker, run, again)).answer, "yours")
    same(said(m, run), [(1, "listen")])


@test
def a_message_after_a_final_answer_s_commit_is_refused(m):
    run, worker, token, claim = m.planning()
    same(answers(m.in_order(m.commit_plan(worker, run, token, claim), send(run))), ["ok", "ended"])
    same((m.ends(run), m.look("SELECT * FROM pawl.agent_messages WHERE run_id = %s", run)), (["succeeded"], []))


@test
def a_message_before_a_plan_s_claim_is_read_by_it(m):
    run = m.new_run()
    same(answers(m.in_order(send(run), m.claim_plan(m.worker("planner"), run, uuid.uuid4()))), ["sent", "yours"])
    same(said(m, run), [(0, "listen")])


@test
def a_message_after_a_plan_s_claim_is_read_by_the_next_one(m):
    run, worker, token = m.new_run(), m.worker("planner"), uuid.uuid4()
    rows = m.in_order(m.claim_plan(worker, run, token), send(run))
    same((answers(rows), said(m, run)), (["yours", "sent"], []))
    same(m.do(m.commit_plan(worker, run, token, rows[0][0])).next_step, 2)
    m.do(m.claim_plan(worker, run, uuid.uuid4()))
    same(said(m, run), [(1, "listen")])


@test
def two_messages_at_once_have_an_order(m):
    run = m.new_run()
    same([rows[0].seq for rows in m.in_order(send(run, "first"), send(run, "second"))], [1, 2])
    m.do(m.claim_plan(m.worker("planner"), run, uuid.uuid4()))
    same(said(m, run), [(0, "first"), (0, "second")])


@test
def a_message_before_a_cancel_and_after_it(m):
    run = m.new_run()
    same(answers(m.in_order(send(run), m.cancel(run))), ["sent", "cancelled"])
    run = m.new_run()
    same(answers(m.in_order(m.cancel(run), send(run))), ["cancelled", "ended"])
