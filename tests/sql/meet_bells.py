"""meet_bells.py -- of encounters.py: requests at once, and doorbells doubled, in any order, lost."""

import time
import uuid

from sessions import LIMIT, Missed, answers, same, test


# ---------------------------------------------------------------------- requests


@test
def two_identical_requests_at_once_make_one_run(m):
    key = str(uuid.uuid4())
    results = m.in_order(m.accept(key), m.accept(key))
    same((answers(results), results[0][0].run_id), (["accepted", "duplicate"], results[1][0].run_id))


@test
def three_identical_requests_at_once_make_one_run(m):
    key = str(uuid.uuid4())
    results = m.in_order(m.accept(key), m.accept(key), m.accept(key))
    same((answers(results), len({r[0].run_id for r in results})), (["accepted", "duplicate", "duplicate"], 1))


@test
def two_requests_at_once_with_one_id_and_other_bodies_conflict(m):
    key = str(uuid.uuid4())
    results = m.in_order(m.accept(key, b"one"), m.accept(key, b"two"))
    same(answers(results), ["accepted", "conflict"])
    same(m.look("SELECT count(*) AS n FROM pawl.requests WHERE id = %s", key)[0].n, 1)


@test
def a_request_whose_first_acceptance_is_rolled_back_is_accepted(m):
    key = str(uuid.uuid4())
    same(m.undone(m.accept(key, b"one"), m.accept(key, b"two"))[0].answer, "accepted")


# ---------------------------------------------------------------------- doorbells


@test
def a_doorbell_that_comes_twice_finds_its_work_taken_and_then_done(m):
    run, worker, token = m.claimed("send")
    same(m.do(m.claim_call(worker, run, uuid.uuid4())).answer, "busy")
    m.do(m.commit_call(worker, run, token))
    same(m.do(m.claim_call(worker, run, uuid.uuid4())).answer, "done")
    planner, second = m.worker("planner"), uuid.uuid4()
    claim = m.do(m.claim_plan(planner, run, second))
    same(m.do(m.claim_plan(planner, run, uuid.uuid4())).answer, "busy")
    m.do(m.commit_plan(planner, run, second, claim))
    same(m.do(m.claim_plan(planner, run, uuid.uuid4())).answer, "done")
    same((len(m.calls(run)), m.ends(run)), (1, ["succeeded"]))


@test
def doorbells_in_any_other_order_do_nothing(m):
    run, planner, executor = m.planned("send"), m.worker("planner"), m.worker("executor")
    same(m.do(m.claim_plan(planner, run, uuid.uuid4())).answer, "no")  # the hands are at work
    same(m.do(m.claim_call(executor, run, uuid.uuid4(), 0, 2)).answer, "no")  # a step that is not there yet
    same(m.do(m.claim_call(executor, run, uuid.uuid4(), 7)).answer, "no")  # a call that nobody planned
    same(m.do(m.claim_call(executor, uuid.uuid4(), uuid.uuid4())).answer, "no")
    token = uuid.uuid4()
    m.do(m.claim_call(executor, run, token))
    m.do(m.commit_call(executor, run, token))
    same(m.do(m.claim_call(executor, run, uuid.uuid4())).answer, "done")  # a step that is over
    same((m.run(run).step, len(m.calls(run))), (2, 1))


def found(m, kind, run):
    """What an idle process finds in the end: nobody has rung."""
    worker, end = m.worker(kind), time.monotonic() + LIMIT
    while time.monotonic() < end:
        for row in m.look("SELECT * FROM pawl.claim_due(%s,%s,'meet',100)", worker, kind):
            if row.run_id == run:
                return worker, row
        time.sleep(0.02)
    raise Missed("nobody found the work")


@test
def with_every_doorbell_lost_a_run_goes_on_to_its_end(m):
    run = m.new_run()
    for tools in (["send"], []):
        planner, row = found(m, "planner", run)
        token = uuid.uuid4()
        claim = m.do(m.claim_plan(planner, row.run_id, token))
        m.do(m.commit_plan(planner, run, token, claim, tools))
        if tools:
            executor, row = found(m, "executor", run)
            same((row.what, row.step, row.index), ("act", 1, 0))
            token = uuid.uuid4()
            same(m.do(m.claim_call(executor, run, token)).answer, "yours")
            m.do(m.commit_call(executor, run, token))
    same(m.ends(run), ["succeeded"])


@test
def two_idle_processes_that_look_at_once_do_not_wait_for_each_other(m):
    run, look = m.new_run(), ("SELECT * FROM pawl.claim_due(%s,'planner','meet',100)", (m.worker("planner"),))
    m.one.begin()
    mine = {r.run_id for r in m.one.ask(look[0], *look[1])}
    theirs = {r.run_id for r in m.two.start(look[0], *look[1]).rows()}
    m.one.commit()
    same((run in mine, mine & theirs), (True, set()))


@test
def a_look_for_due_work_passes_over_what_is_being_claimed(m):
    run, token = m.new_run(), uuid.uuid4()
    m.one.begin()
    sql, args = m.claim_plan(m.worker("planner"), run, token)
    m.one.ask(sql, *args)
    theirs = m.two.start("SELECT * FROM pawl.claim_due(%s,'planner','meet',100)", m.worker("planner")).rows()
    m.one.commit()
    same(run in {r.run_id for r in theirs}, False)
