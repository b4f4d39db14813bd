"""Deploys: processes that leave in order, fleets that differ, new revisions."""

import json
import threading

import pytest

from model import Call, Say
from tool import After, Never, Ok
from waiting import stays, wait_until


pytestmark = pytest.mark.beside


def test_sigterm_finishes_what_is_in_flight(stack):
    stack.up()
    gate = threading.Event()
    stack.tools.behave("send", After(gate))
    stack.publish(tools={"send": {"timeout": "60s"}})
    stack.model.script(Call(("send", {"n": 1})), Say("done"))
    run = stack.run()
    wait_until(lambda: stack.tools.executions("send"), "the call is in flight", watch=stack.check)
    executor = stack.processes["executor-1"]
    executor.terminate()
    stays(lambda: executor.running, "it waits for the call", 1.5)
    gate.set()
    assert executor.wait_exit() == 0
    run.wait()
    assert len(stack.tools.executions("send")) == 1
    assert run.action()["status"] == "succeeded"
    assert [row["state"] for row in stack.workers("gone")] == ["gone"]
    assert not stack.workers("dead")


def test_sigterm_finishes_the_model_call(stack):
    stack.up()
    hold = threading.Event()
    stack.publish()
    stack.model.script(Say("done", pause=hold))
    run = stack.run()
    wait_until(lambda: stack.model.asked(1), "the model is asked", watch=stack.check)
    planner = stack.processes["planner-1"]
    planner.terminate()
    stays(lambda: planner.running, "it waits for the model", 1)
    hold.set()
    assert planner.wait_exit() == 0
    assert run.wait().answer() == "done"
    assert len(stack.model.asks) == 1


def test_a_second_sigterm_ends_the_grace(stack):
    stack.up()
    stack.tools.behave("send", Never())
    stack.publish(tools={"send": {"timeout": "60s"}})
    stack.model.script(Call(("send", {"n": 1})), Say("done"))
    run = stack.run()
    wait_until(lambda: stack.tools.executions("send"), "the call is in flight", watch=stack.check)
    executor = stack.processes["executor-1"]
    executor.terminate()
    stays(lambda: executor.running, "it waits for the call", 0.5)
    executor.terminate()
    assert executor.wait_exit(timeout=15) == 0
    run.wait()
    assert run.action()["status"] == "unknown"
    assert len(stack.tools.executions("send")) == 1


def test_the_grace_ends_by_itself(stack):
    stack.kafka.start()
    stack.planner()
    executor = stack.executor(settings={"grace": "1s"})
    stack.wait_alive(2)
    stack.tools.behave("send", Never())
    stack.publish(tools={"send": {"timeout": "60s"}})
    stack.model.script(Call(("send", {"n": 1})), Say("done"))
    run = stack.run()
    wait_until(lambda: stack.tools.executions("send"), "the call is in flight", watch=stack.check)
    executor.terminate()
    assert executor.wait_exit(timeout=20) == 0
    run.wait()
    assert run.action()["status"] == "unknown"


def test_a_rolling_deploy_makes_nothing_unknown(stack):
    stack.up(planners=2, executors=2)
    stack.tools.behave("send", After(0.1))
    stack.publish(tools={"send": {}})
    stack.model.script(*[Call(("send", {"n": n}), ("send", {"n": 100 + n}), pause=0.2) for n in range(6)], Say("done"))
    runs = [stack.run() for _ in range(6)]
    for name in ("executor-1", "planner-1", "executor-2", "planner-2"):
        process = stack.processes[name]
        process.terminate()
        assert process.wait_exit() == 0
        process.start()
    for run in runs:
        run.wait()
    assert len(stack.tools.executions("send")) == 6 * 12
    assert len(stack.tools.keys("send")) == 6 * 12
    statuses = {row["status"] for run in runs for row in run.actions()}
    assert statuses <= {"succeeded", "failed_before_effect"}  # the latter: handed back, not sent
    assert len(stack.model.asks) == 6 * 7
    assert all(ask.answered for ask in stack.model.asks), "a model call was interrupted"
    assert not stack.workers("dead")


def test_an_executor_that_lacks_a_secret_leaves_the_call_to_another(stack):
    """Two fleets with different local files."""
    stack.kafka.start()
    stack.planner()
    stack.executor(1)
    stack.wait_alive(2)
    stack.publish(tools={"send": {"http": {"headers": {"X-Key": {"secret": "send_key"}}}}, "plain": {}})
    stack.model.script(Call(("send", {"n": 1}), ("plain", {"n": 2})), Say("done"))
    run = stack.run()
    wait_until(lambda: stack.tools.executions("plain"), "what can be served is served", watch=stack.check)
    stays(lambda: not stack.tools.executions("send"), "nobody can serve the other one", 2)
    stack.executor(2, secrets={"send_key": "k3y-k3y"})
    run.wait()
    assert [e.headers["X-Key"] for e in stack.tools.executions("send")] == ["k3y-k3y"]
    assert "send_key" in stack.processes["executor-1"].text()


def test_a_new_revision_serves_new_runs_and_old_ones_keep_theirs(stack):
    stack.up()
    gate = threading.Event()
    stack.publish(tools={"old": {}}, agent={"instructions": "the first"})
    stack.model.script(Say("one", gate=gate))
    first = stack.run()
    wait_until(lambda: stack.model.asked(1), "the first run has begun", watch=stack.check)
    stack.publish(tools={"new": {}}, agent={"instructions": "the second"})
    second = stack.run()
    wait_until(lambda: len(stack.model.asked(1)) == 2, "the second run has begun", watch=stack.check)
    gate.set()
    first.wait()
    second.wait()
    asks = stack.model.asked(1)
    assert "the first" in json.dumps(asks[0].messages) and "old" in json.dumps(asks[0].body["tools"])
    assert "the second" in json.dumps(asks[1].messages) and "new" in json.dumps(asks[1].body["tools"])


def test_a_full_executor_leaves_work_to_others(stack):
    stack.kafka.start()
    stack.planner()
    for slot in (1, 2):
        stack.executor(slot, settings={"capacity": {"plans": 10, "actions": 2}})
    stack.wait_joined("executor-1", "executor-2")
    together = threading.Event()
    stack.tools.behave("send", After(together))
    stack.publish(tools={"send": {"timeout": "60s"}})
    stack.model.script(Call(*[("send", {"n": n}) for n in range(7)]), Say("done"))
    run = stack.run()
    wait_until(lambda: len(stack.tools.executions("send")) == 4, "both are full", watch=stack.check)
    stays(lambda: len(stack.tools.executions("send")) == 4, "nobody takes more than it may", 2)
    together.set()
    run.wait()
    assert len(stack.tools.executions("send")) == 7


@pytest.mark.parametrize("kind", ["planner", "executor"])
def test_health_pages_answer(stack, kind):
    stack.up()
    name = f"{kind}-1"
    stack.wait_joined(name)
    assert stack.get(name, "/livez")[0] == 200
    assert stack.get(name, "/startupz")[0] == 200
    status, page = stack.get(name, "/metrics")
    assert status == 200 and "pawl_build_info" in page
    if kind == "executor":
        stack.publish(tools={"send": {}})
        stack.model.script(Call(("send", {"n": 1})), Say("done"))
        stack.run().wait()
        assert stack.metric(name, "pawl_executor_calls_total") == 1
        assert stack.metric(name, "pawl_executor_actions") == 0
