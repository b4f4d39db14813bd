"""kill -9 in the middle of a call: every policy, and who takes over."""

import threading

import pytest

from model import Call, Say
from tool import After, Ok
from waiting import wait_until

pytestmark = pytest.mark.beside

# name, tool, probe answers, decision, status at the end, executions
POLICIES = [
    ("read_only", {"read_only": True}, None, None, "succeeded", 2),
    ("idempotent", {"idempotent": True}, None, None, "succeeded", 2),
    ("tell_model", {}, None, None, "unknown", 1),
    ("probe-happened", {"on_unknown": "probe"}, ["ledger"], None, "succeeded", 1),
    ("probe-did-not-happen", {"on_unknown": "probe"}, ["not"], None, "succeeded", 2),
    ("probe-down-then-happened", {"on_unknown": "probe"}, ["down", "ledger"], None, "succeeded", 1),
    ("probe-down-then-not", {"on_unknown": "probe"}, ["down", "not"], None, "succeeded", 2),
    ("probe-unsure", {"on_unknown": "probe"}, ["unsure"], "happened", "succeeded", 1),
    ("ask-happened", {"on_unknown": "ask"}, None, "happened", "succeeded", 1),
    ("ask-did-not-happen", {"on_unknown": "ask"}, None, "did-not-happen", "succeeded", 2),
]


@pytest.mark.parametrize("tool,probe,decision,status,executions", [p[1:] for p in POLICIES],
                         ids=[p[0] for p in POLICIES])
def test_executor_killed_in_a_call(stack, tool, probe, decision, status, executions):
    stack.up()
    never = threading.Event()
    stack.tools.behave("send", After(never), Ok())
    if probe:
        stack.tools.probe("send", *probe)
    stack.publish(tools={"send": {"timeout": "1s", **tool}})
    stack.model.script(Call(("send", {"n": 1})), Say("done"))
    run = stack.run()
    wait_until(lambda: stack.tools.executions("send"), "the tool is called", watch=stack.check)
    stack.processes["executor-1"].restart()
    if decision:
        run.wait("suspended")
        assert run.action()["status"] == "awaiting_decision"
        # That it did not happen is not believed while what the dead one sent may still arrive.
        words = ("run", "decide", run.id, 1, 0, decision)
        wait_until(lambda: stack.pawl(*words, check=False).returncode == 0, "the decision is taken", pause=0.2)
    run.wait()
    assert run.action()["status"] == status
    assert len(stack.tools.executions("send")) == executions
    assert len(stack.tools.keys("send")) == 1, "the key has changed"
    if status == "unknown":
        told = stack.model.asked(2)[0].results()["call_1_0"]
        assert "may have" in told or "unknown" in told


def test_another_executor_takes_over(stack):
    """Nobody restarts the dead one: a peer finds its lock free."""
    stack.up(executors=2)
    never = threading.Event()
    stack.tools.behave("look", After(never), Ok())
    stack.publish(tools={"look": {"read_only": True}})
    stack.model.script(Call(("look", {"n": 1})), Say("done"))
    run = stack.run()
    wait_until(lambda: stack.tools.executions("look"), "the tool is called", watch=stack.check)
    holder = stack.sql.value("SELECT w.instance FROM pawl.agent_actions a JOIN pawl.workers w "
                             "ON w.incarnation = a.claim_by WHERE a.run_id = %s", run.id)
    stack.processes[holder.removeprefix("test/")].kill()
    run.wait()
    assert len(stack.tools.executions("look")) == 2
    assert [row["state"] for row in stack.workers("dead")] == ["dead"]


def test_planner_killed_in_a_model_call(stack):
    stack.up()
    hold = threading.Event()
    stack.publish(tools={"send": {}})
    stack.model.script([Call(("send", {"n": 1}), pause=hold), Call(("send", {"n": 1}))], Say("done"))
    run = stack.run()
    wait_until(lambda: stack.model.asked(1), "the model is asked", watch=stack.check)
    stack.processes["planner-1"].restart()
    run.wait()
    assert len(stack.tools.executions("send")) == 1
    assert len(stack.model.asked(1)) == 2


def test_everything_restarts_between_the_steps(stack):
    stack.up()
    gates = [threading.Event() for _ in range(3)]
    stack.publish(tools={"send": {}})
    stack.model.script(*[Call(("send", {"n": n}), gate=gates[n]) for n in range(3)], Say("done"))
    run = stack.run()
    for n, name in enumerate(["planner-1", "executor-1", "planner-1"]):
        wait_until(lambda n=n: stack.model.asked(n + 1), f"step {n + 1} is planned", watch=stack.check)
        stack.processes[name].restart()
        gates[n].set()
    run.wait()
    assert [e.arguments["n"] for e in stack.tools.executions("send")] == [0, 1, 2]


def test_all_killed_at_once(stack):
    stack.up(planners=2, executors=2)
    never = threading.Event()
    stack.tools.behave("send", After(never), Ok())
    stack.publish(tools={"send": {"idempotent": True}})
    stack.model.script(Call(*[("send", {"n": n}) for n in range(3)]), Say("done"))
    runs = [stack.run() for _ in range(3)]
    wait_until(lambda: stack.tools.executions("send"), "the tool is called", watch=stack.check)
    for process in stack.processes.values():
        process.kill()
    for process in stack.processes.values():
        process.start()
    for run in runs:
        run.wait()
        keys = {row["key"] for row in run.actions()}
        assert len(keys) == 3
        assert all(run.action(1, index)["status"] == "succeeded" for index in range(3))


def test_work_that_kills_ends(stack):
    """Every process that touches this call dies: the third death is the last one."""
    stack.kafka.start()
    stack.planner()
    executor = stack.executor(start=False)
    stack.publish(tools={"look": {"read_only": True, "attempts": 20}})
    stack.model.script(Call(("look", {"n": 1})), Say("done"))
    run = stack.run()
    for _ in range(3):
        executor.start(PAWL_FAULT="executor_before_send")
        executor.wait_exit()
    executor.start()
    run.wait()
    assert run.action()["status"] == "failed"
    assert run.action()["deaths"] == 3
    assert not stack.tools.executions("look")
    assert "died" in stack.model.asked(2)[0].results()["call_1_0"]
