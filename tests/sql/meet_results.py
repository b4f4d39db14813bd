"""meet_results.py -- of encounters.py: commits against commits, and the late ones of those declared dead."""

import uuid

from sessions import answers, same, test


# ---------------------------------------------------------------------- commits


def finishers(m, count):
    run = m.planned(*["send", "put", "wire"][:count])
    held = [(m.worker("executor"), uuid.uuid4(), i) for i in range(count)]
    for worker, token, index in held:
        m.do(m.claim_call(worker, run, token, index))
    return run, [m.commit_call(worker, run, token, 1, index) for worker, token, index in held]


@test
def of_two_last_finishers_one_completes_the_step(m):
    run, commits = finishers(m, 2)
    results = m.in_order(*commits)
    same(answers(results), ["ok", "ok"])
    same([r[0].ring_plan for r in results], [0, 2])
    same((m.run(run).step, m.run(run).open_calls), (2, 0))


@test
def of_three_last_finishers_one_completes_the_step(m):
    run, commits = finishers(m, 3)
    results = m.in_order(*commits)
    same((answers(results), sorted(r[0].ring_plan for r in results)), (["ok"] * 3, [0, 0, 2]))
    same((m.run(run).step, m.run(run).open_calls), (2, 0))


@test
def a_finisher_and_the_death_of_the_other_one_complete_the_step_once(m):
    run, a, token = m.claimed("send", "send")
    b = m.worker("executor")
    m.do(m.claim_call(b, run, uuid.uuid4(), 1))
    same(answers(m.in_order(m.commit_call(a, run, token), m.declare_dead(b))), ["ok", "dead"])
    same((m.run(run).step, m.run(run).open_calls, [c.status for c in m.calls(run)]), (2, 0, ["succeeded", "unknown"]))


@test
def the_death_of_one_and_the_other_finisher_complete_the_step_once(m):
    run, a, token = m.claimed("send", "send")
    b = m.worker("executor")
    m.do(m.claim_call(b, run, uuid.uuid4(), 1))
    results = m.in_order(m.declare_dead(b), m.commit_call(a, run, token))
    same((answers(results), results[1][0].ring_plan), (["dead", "ok"], 2))
    same((m.run(run).step, m.run(run).open_calls), (2, 0))


@test
def a_commit_whose_answer_was_lost_is_done(m):
    run, worker, token = m.claimed("send", "put")
    commit = m.commit_call(worker, run, token)
    same([m.do(commit).answer, m.do(commit).answer], ["ok", "done"])
    same(m.run(run).open_calls, 1)


@test
def a_commit_asked_for_again_while_it_is_under_way_is_done(m):
    run, worker, token = m.claimed("send", "put")
    commit = m.commit_call(worker, run, token)
    same(answers(m.in_order(commit, commit)), ["ok", "done"])
    same(m.run(run).open_calls, 1)


@test
def a_commit_that_was_rolled_back_counts_when_it_is_asked_for_again(m):
    run, worker, token = m.claimed("send", "put")
    commit = m.commit_call(worker, run, token)
    same(m.undone(commit, commit)[0].answer, "ok")
    same(m.run(run).open_calls, 1)


@test
def a_commit_asked_for_again_after_the_step_is_done(m):
    run, worker, token = m.claimed("send")
    commit = m.commit_call(worker, run, token)
    same(m.do(commit).ring_plan, 2)
    m.do(m.claim_plan(m.worker("planner"), run, uuid.uuid4()))
    same(m.do(commit).answer, "done")


@test
def a_plan_s_commit_asked_for_again_while_it_is_under_way_is_done(m):
    run, worker, token, claim = m.planning()
    commit = m.commit_plan(worker, run, token, claim, ["send", "put"])
    same(answers(m.in_order(commit, commit)), ["ok", "done"])
    same(m.run(run).open_calls, 2)


@test
def a_final_answer_s_commit_asked_for_again_is_announced_once(m):
    run, worker, token, claim = m.planning()
    commit = m.commit_plan(worker, run, token, claim)
    same(answers(m.in_order(commit, commit)), ["ok", "done"])
    same(m.ends(run), ["succeeded"])


# ---------------------------------------------------- late commits of the dead


@test
def a_late_result_before_a_newer_version_is_claimed_counts(m):
    run, worker, token = m.claimed("put")
    m.do(m.declare_dead(worker))
    late, claim = m.in_order(m.commit_call(worker, run, token), m.claim_call(m.worker("executor"), run, uuid.uuid4()))
    same((late[0].answer, claim[0].answer), ("ok", "done"))
    same([(c.version, c.status) for c in m.calls(run)], [(1, "succeeded")])


@test
def a_late_result_after_a_newer_version_is_claimed_is_stale(m):
    run, worker, token = m.claimed("put")
    m.do(m.declare_dead(worker))
    claim, late = m.in_order(m.claim_call(m.worker("executor"), run, uuid.uuid4()), m.commit_call(worker, run, token))
    same((claim[0].answer, claim[0].version, late[0].answer), ("yours", 2, "stale"))
    same([(c.version, c.status) for c in m.calls(run)], [(1, "unknown"), (2, "running")])


@test
def a_late_result_before_the_next_step_is_claimed_counts(m):
    run, worker, token = m.claimed("send")
    m.do(m.declare_dead(worker))
    same(m.run(run).step, 2)
    late, claim = m.in_order(m.commit_call(worker, run, token), m.claim_plan(m.worker("planner"), run, uuid.uuid4()))
    same((late[0].answer, claim[0].answer, m.calls(run)[0].status), ("ok", "yours", "succeeded"))


@test
def a_late_result_after_the_next_step_is_claimed_is_stale(m):
    run, worker, token = m.claimed("send")
    m.do(m.declare_dead(worker))
    claim, late = m.in_order(m.claim_plan(m.worker("planner"), run, uuid.uuid4()), m.commit_call(worker, run, token))
    same((claim[0].answer, late[0].answer, m.calls(run)[0].status), ("yours", "stale", "unknown"))


@test
def a_late_result_stays_stale_when_the_next_step_s_planner_dies_too(m):
    """It may have been read: the model call of the dead planner counts as made."""
    run, worker, token = m.claimed("send")
    m.do(m.declare_dead(worker))
    planner = m.worker("planner")
    m.do(m.claim_plan(planner, run, uuid.uuid4()))
    death, late = m.in_order(m.declare_dead(planner), m.commit_call(worker, run, token))
    same((death[0].answer, late[0].answer, m.calls(run)[0].status), ("dead", "stale", "unknown"))


@test
def a_commit_just_before_the_death_of_its_worker_counts(m):
    run, worker, token = m.claimed("send", "put")
    same(answers(m.in_order(m.commit_call(worker, run, token), m.declare_dead(worker))), ["ok", "dead"])
    same(([c.status for c in m.calls(run)], m.run(run).open_calls), (["succeeded"], 1))


@test
def a_commit_just_after_the_death_of_its_worker_is_the_truth(m):
    run, worker, token = m.claimed("send", "put")
    same(answers(m.in_order(m.declare_dead(worker), m.commit_call(worker, run, token))), ["dead", "ok"])
    same(([c.status for c in m.calls(run)], m.run(run).open_calls), (["succeeded"], 1))


@test
def a_late_result_against_a_person_s_no_counts_when_it_is_first(m):
    run, worker, token = m.claimed("wire")
    m.do(m.declare_dead(worker))
    late, word = m.in_order(m.commit_call(worker, run, token), m.decide(run, False))
    same((late[0].answer, word[0].answer, m.calls(run)[0].status), ("ok", "no", "succeeded"))


@test
def a_late_result_after_a_person_s_yes_changes_nothing(m):
    run, worker, token = m.claimed("wire")
    m.do(m.declare_dead(worker))
    word, late = m.in_order(m.decide(run, True), m.commit_call(worker, run, token))
    same((word[0].answer, late[0].answer), ("decided", "done"))
    same([(c.status, c.result) for c in m.calls(run)], [("succeeded", "said")])


@test
def a_dead_planner_s_plan_is_stale_before_and_after_the_next_claim(m):
    run, worker, token, claim = m.planning()
    commit = m.commit_plan(worker, run, token, claim, ["send"])
    same(answers(m.in_order(m.declare_dead(worker), commit)), ["dead", "stale"])
    same(answers(m.in_order(m.claim_plan(m.worker("planner"), run, uuid.uuid4()), commit)), ["yours", "stale"])
    same((m.run(run).version, m.run(run).open_calls), (2, 0))


@test
def a_plan_just_before_the_death_of_its_planner_counts(m):
    run, worker, token, claim = m.planning()
    same(answers(m.in_order(m.commit_plan(worker, run, token, claim, ["send"]), m.declare_dead(worker))), ["ok", "dead"])
    same((m.run(run).open_calls, m.run(run).deaths), (1, 0))
