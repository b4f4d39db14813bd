"""What a provider allows a key, over the whole fleet: the model's ledger counts (P10)."""

import json

from model import Say, Status
from waiting import wait_until

PER_MINUTE = 240
BURST, RATE = PER_MINUTE // 12, (PER_MINUTE - PER_MINUTE // 12 + 1) / 60  # as in 0012_quota.sql


def start(stack, limits):
    stack.up(planners=2)
    stack.wait_joined("planner-1", "planner-2", "executor-1")
    stack.publish(model={"limits": limits})


def ask(stack, first, count):
    values = [json.dumps({"id": f"r{n}", "agent": "agent", "input": f"go {n}"}) for n in range(first, first + count)]
    stack.kafka.kcat("-P", "-t", stack.kafka.names["requests"], data="\n".join(values).encode() + b"\n")


def ended(stack):
    return stack.sql.value("SELECT count(*)::int FROM pawl.agent_runs WHERE status = 'succeeded'")


def test_two_planners_keep_the_limit_of_a_key_and_who_waits_holds_nothing(stack):
    start(stack, {"requests_per_minute": PER_MINUTE})
    stack.model.script(Say("done"))
    count = BURST + 16
    began = stack.sql.value("SELECT extract(epoch FROM clock_timestamp())::float")
    ask(stack, 0, count)
    wait_until(lambda: (stack.sql.value("SELECT waiting::int FROM pawl.provider_load") or 0) >= 5
               and ended(stack) >= BURST
               and stack.sql.value("SELECT count(*)::int FROM pawl.agent_runs WHERE claim_by IS NOT NULL") == 0,
               "runs wait, and nobody holds them", pause=0.01, watch=stack.check)
    wait_until(lambda: ended(stack) == count, "all have their turn", timeout=60, watch=stack.check)
    calls = sorted(a.wall for a in stack.model.asked())
    assert len(calls) == count, "a call was made twice"
    early = [n for n, at in enumerate(calls) if at - began < (n + 1 - BURST) / RATE - 0.01]
    assert not early, f"calls before their time: {early}"
    assert stack.metric("planner-1", "pawl_planner_quota_waits_total") + stack.metric("planner-2", "pawl_planner_quota_waits_total") >= 16
    attempts = stack.sql.value("SELECT max(model_calls)::int FROM pawl.agent_runs")
    assert attempts == 1, "a wait has counted as an attempt"


def test_a_pause_that_the_provider_wants_holds_for_all_planners(stack):
    start(stack, {"requests_per_minute": 6000, "tokens_per_minute": 6000000})
    stack.model.script([Status(429, retry_after=4), Say("done")])
    ask(stack, 0, 1)
    paused = wait_until(lambda: stack.sql.value("SELECT extract(epoch FROM paused_until)::float FROM pawl.provider_load"), "the pause is known",
                        pause=0.01, watch=stack.check)
    stack.model.script(Say("done"))
    ask(stack, 1, 12)
    wait_until(lambda: ended(stack) == 13, "all have their turn", timeout=60, watch=stack.check)
    calls = sorted(a.wall for a in stack.model.asked())
    assert len(calls) == 14 and calls[1] >= paused - 0.01, (paused, calls)
