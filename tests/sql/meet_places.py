"""meet_places.py -- of encounters.py: who frees a place, who takes it, and who comes in between; and the same for requests of a key."""

import uuid

from sessions import answers, same, test


class Tenant:
    """A tenant of its own, with so many places, and runs that hold or want them."""

    def __init__(self, meeting, places, runs):
        self.m, self.name = meeting, str(uuid.uuid4())
        meeting.look("SELECT * FROM pawl.set_tenant(%s, 1, %s, 'meet')", self.name, places)
        self.runs = [meeting.do(self.accept()).run_id for _ in range(runs)]

    def accept(self):
        return ("SELECT * FROM pawl.accept(NULL,ARRAY['meet'],ARRAY[%s],ARRAY['x']::bytea[],ARRAY['meet'],ARRAY[%s],ARRAY['meet'],"
                "ARRAY['\"go\"'],ARRAY[NULL],ARRAY[NULL]::timestamptz[],ARRAY[NULL]::timestamptz[],'meet',0)", (str(uuid.uuid4()), self.name))

    def statuses(self):
        return [self.m.run(run).status for run in self.runs]

    def counted(self):
        row = self.m.look("SELECT running::int, queued::int FROM pawl.tenant_load WHERE tenant = %s", self.name)[0]
        held = self.m.look("SELECT (count(*) FILTER (WHERE status = 'running'))::int AS running, (count(*) FILTER (WHERE status = 'queued'))::int"
                           " AS queued FROM pawl.agent_runs WHERE tenant = %s", self.name)[0]
        same((row.running, row.queued), (held.running, held.queued))
        return held.running, held.queued

    def admitted(self, rows):
        return [row.run_id for row in rows if row.run_id in self.runs]

    def final(self, run):
        """What ends this run: its planner's last commit."""
        planner, token = self.m.worker("planner"), uuid.uuid4()
        claim = self.m.do(self.m.claim_plan(planner, run, token))
        return self.m.commit_plan(planner, run, token, claim)


ADMIT = ("SELECT * FROM pawl.admit('meet', 100)", ())


@test
def two_ends_free_a_place_each_and_do_not_wait_for_each_other(m):
    t = Tenant(m, 2, 5)
    one, two = t.final(t.runs[0]), t.final(t.runs[1])
    m.one.begin()
    same(m.one.ask(one[0], *one[1])[0].answer, "ok")
    m.two.begin()
    same(m.two.start(two[0], *two[1]).rows()[0].answer, "ok")
    same(t.admitted(m.three.ask(*ADMIT)), [])  # nothing is free before they have committed
    m.one.commit()
    m.two.commit()
    same(sorted(t.admitted(m.look(*ADMIT))), sorted(t.runs[2:4]))
    same((t.admitted(m.look(*ADMIT)), t.counted()), ([], (2, 1)))


@test
def two_admissions_at_once_give_a_place_once(m):
    t = Tenant(m, 1, 3)
    m.do(t.final(t.runs[0]))
    m.one.begin()
    same(t.admitted(m.one.ask(*ADMIT)), t.runs[1:2])
    same(t.admitted(m.two.start(*ADMIT).rows()), [])  # it does not even wait
    m.one.commit()
    same((t.admitted(m.look(*ADMIT)), t.counted()), ([], (1, 1)))


@test
def the_death_of_who_admits_leaves_the_run_to_others(m):
    t = Tenant(m, 1, 2)
    m.do(t.final(t.runs[0]))
    m.one.begin()
    same(t.admitted(m.one.ask(*ADMIT)), t.runs[1:])
    m.one.roll_back()
    same((t.statuses()[1], t.counted()), ("queued", (0, 1)))
    same(t.admitted(m.look(*ADMIT)), t.runs[1:])
    # and who dies after its commit, before it rings: the run is due
    same(m.look("SELECT due_at <= clock_timestamp() + interval '2 s' AS soon FROM pawl.agent_runs WHERE run_id = %s", t.runs[1])[0].soon, True)


@test
def two_requests_for_one_place(m):
    t = Tenant(m, 1, 0)
    same(answers(m.in_order(t.accept(), t.accept())), ["accepted", "queued"])
    same(t.counted(), (1, 1))


@test
def a_request_that_was_undone_leaves_the_place_to_the_next(m):
    t = Tenant(m, 1, 0)
    same([row.answer for row in m.undone(t.accept(), t.accept())], ["accepted"])
    same(t.counted(), (1, 0))


@test
def a_request_after_an_end_takes_its_place(m):
    t = Tenant(m, 1, 1)
    m.do(t.final(t.runs[0]))
    same(m.do(t.accept()).answer, "accepted")
    same(t.counted(), (1, 0))


@test
def a_request_while_an_end_is_under_way_waits_for_a_place_but_not_for_the_end(m):
    t = Tenant(m, 1, 1)
    end = t.final(t.runs[0])
    m.one.begin()
    m.one.ask(end[0], *end[1])
    accept = t.accept()
    row = m.two.start(accept[0], *accept[1]).rows()[0]
    same(row.answer, "queued")
    m.one.commit()
    t.runs.append(row.run_id)
    same((t.admitted(m.look(*ADMIT)), t.counted()), ([row.run_id], (1, 0)))


@test
def an_admission_does_not_wait_for_a_request_and_gives_no_place_twice(m):
    t = Tenant(m, 2, 3)
    m.do(t.final(t.runs[0]))
    accept = t.accept()
    m.one.begin()
    same(m.one.ask(accept[0], *accept[1])[0].answer, "queued")  # others came before
    m.two.start(*ADMIT).rows()
    m.one.commit()
    m.look(*ADMIT)
    same(t.counted(), (2, 1))


@test
def cancel_of_a_queued_run_before_its_admission(m):
    t = Tenant(m, 1, 3)
    m.do(t.final(t.runs[0]))
    cancel = m.cancel(t.runs[1])
    m.one.begin()
    m.one.ask(cancel[0], *cancel[1])
    same(t.admitted(m.two.start(*ADMIT).rows()), t.runs[2:])  # the next one, without waiting
    m.one.commit()
    same((t.statuses()[1:], m.ends(t.runs[1])), (["cancelled", "running"], ["cancelled"]))
    same((t.admitted(m.look(*ADMIT)), t.counted()), ([], (1, 0)))


@test
def cancel_of_a_queued_run_after_its_admission_frees_the_place(m):
    t = Tenant(m, 1, 3)
    m.do(t.final(t.runs[0]))
    same(answers([m.in_order(ADMIT, m.cancel(t.runs[1]))[1]]), ["cancelled"])
    same((t.statuses()[1:], m.ends(t.runs[1])), (["cancelled", "queued"], ["cancelled"]))
    same((t.admitted(m.look(*ADMIT)), t.counted()), (t.runs[2:], (1, 0)))


@test
def a_claim_of_a_queued_run_finds_nothing_before_its_admission(m):
    t = Tenant(m, 1, 2)
    planner = m.worker("planner")
    same(m.do(m.claim_plan(planner, t.runs[1], uuid.uuid4())).answer, "no")
    m.do(t.final(t.runs[0]))
    same(m.in_order(ADMIT, m.claim_plan(planner, t.runs[1], uuid.uuid4()))[1][0].answer, "yours")


@test
def a_retry_waits_for_a_place_like_others(m):
    t = Tenant(m, 1, 2)
    m.do(m.cancel(t.runs[0]))
    m.look(*ADMIT)
    same(m.do(m.retry(t.runs[0])).answer, "retried")
    same((t.statuses(), t.counted()), (["queued", "running"], (1, 1)))
    m.do(t.final(t.runs[1]))
    same((t.admitted(m.look(*ADMIT)), t.counted()), (t.runs[:1], (1, 0)))


@test
def a_retry_and_a_request_for_one_place(m):
    t = Tenant(m, 1, 1)
    m.do(m.cancel(t.runs[0]))
    first, second = m.in_order(m.retry(t.runs[0]), t.accept())
    same((first[0].answer, second[0].answer, t.counted()), ("retried", "queued", (1, 1)))


@test
def who_waits_for_a_person_holds_no_place_and_takes_one_when_it_wakes(m):
    t = Tenant(m, 1, 2)
    planner, token = m.worker("planner"), uuid.uuid4()
    m.do(m.commit_plan(planner, t.runs[0], token, m.do(m.claim_plan(planner, t.runs[0], token)), ["wire"]))
    hands = m.worker("executor")
    m.do(m.claim_call(hands, t.runs[0], token))
    m.do(m.commit_call(hands, t.runs[0], token, outcome="unknown"))
    same((t.statuses(), t.counted()), (["suspended", "queued"], (0, 1)))
    same(t.admitted(m.look(*ADMIT)), t.runs[1:])
    m.do(m.decide(t.runs[0], True))
    same((t.statuses(), t.counted()), (["running", "running"], (2, 0)))  # above the limit for a while
    same(m.do(t.accept()).answer, "queued")
    m.do(t.final(t.runs[1]))
    same((t.admitted(m.look(*ADMIT)), t.counted()), ([], (1, 1)))


def take(key, run):
    """One request of a key that allows five a minute: one at once."""
    return ("SELECT * FROM pawl.take_quota(ARRAY[%s],ARRAY[NULL],ARRAY[5]::bigint[],ARRAY[0]::bigint[],ARRAY[%s]::uuid[],ARRAY['t'],"
            "ARRAY[0]::bigint[],ARRAY[0]::bigint[],ARRAY[0]::bigint[])", (key, run))


@test
def two_planners_for_the_last_request_of_a_key(m):
    key = str(uuid.uuid4())
    rows = m.in_order(take(key, uuid.uuid4()), take(key, uuid.uuid4()), take(key, uuid.uuid4()))
    first, *others = [r[0].wait_ms for r in rows]
    same((first, sorted(round(wait / 12000) for wait in others)), (0, [1, 2]))  # one every twelve seconds, in whichever order they came


@test
def a_request_that_was_taken_by_who_died_in_the_statement_is_there_for_the_next(m):
    key = str(uuid.uuid4())
    same([r.wait_ms for r in m.undone(take(key, uuid.uuid4()), take(key, uuid.uuid4()))], [0])
