"""The network between two processes is cut, in silence, by namespaces."""

import threading
import time

import pytest

from infra import Load, long_only
from model import Call, Say
from network import SECOND, WORLD, NetCluster, NetStack, Network
from tool import After, Ok
from waiting import stays, wait_until

pytestmark = long_only


@pytest.fixture
def network():
    why_not = Network.why_not()
    if why_not:
        pytest.skip(why_not)
    network = Network()
    try:
        yield network.open()
    finally:
        network.close()


@pytest.fixture
def net(network, make_own):
    """A stack in namespaces, not started yet."""
    return make_own(NetCluster, NetStack, network=network)


def postgres(stack):
    return stack.cluster.port


def wait_through(seconds):
    """The length of a fault, which is what is tested."""
    time.sleep(seconds)


@pytest.mark.parametrize("seconds", [5, 20])
def test_infra_planner_cut_from_postgres(net, seconds):
    net.up(planners=2, executors=2)
    load = Load(net).begin()
    dies = seconds > 10
    with load.fault(f"one of two planners cut from Postgres for {seconds} s") as row:
        net.cut("planner-1", postgres(net))
        wait_through(seconds)
        net.heal("planner-1", postgres(net))
        if dies:
            assert net.processes["planner-1"].wait_exit() == 75
            row["remarks"].append("declared dead by the rule of 10 s, it ended with 75 when it was back")
    load.end(dead=int(dies), repeated=None if dies else 0)


def test_infra_planner_cut_from_kafka(net):
    net.up(planners=2, executors=2)
    load = Load(net).begin()
    with load.fault("one of two planners cut from Kafka for 20 s"):
        net.cut("planner-1", net.broker_port)
        wait_through(20)
        net.heal("planner-1", net.broker_port)
    load.end()
    net.wait_joined("planner-1", "planner-2")


def test_infra_planner_cut_from_the_model(net):
    net.up(planners=2, executors=2)
    load = Load(net, model={"connect_timeout": "2s", "first_event_timeout": "5s", "attempts": 10}, long_calls=False)
    load.begin()
    with load.fault("one of two planners cut from the model for 20 s (time limits 2 s and 5 s)"):
        net.cut("planner-1", net.model.port)
        wait_through(20)
        net.heal("planner-1", net.model.port)
    load.end(repeated=None)


def test_infra_everybody_cut_from_postgres(net):
    net.up(planners=2, executors=2)
    load = Load(net).begin()
    with load.fault("everybody cut from Postgres for 20 s"):
        for name in net.processes:
            net.cut(name, postgres(net))
        wait_through(20)
        for name in net.processes:
            net.heal(name, postgres(net))
    load.end()


def test_infra_host_of_postgres_vanishes(net):
    """Nobody says that it is gone, and it does not come back: half-open connections, until time-outs end
    them; then the second host of the connection string is asked."""
    net.cluster.hosts = f"{WORLD},{SECOND}"
    net.up(planners=2, executors=2)
    load = Load(net).begin()
    with load.fault("the address of Postgres vanishes in silence; the second host of the connection string is there"):
        for name in net.processes:
            net.cut(name, postgres(net), address=WORLD)
        load.go_on()
    load.end()


@pytest.mark.parametrize("on_unknown", ["tell_model", "ask"])
def test_infra_executor_cut_from_postgres_in_a_call(net, on_unknown):
    """It is declared dead while it lives and its tool works. Nobody sends the call again; what it brings
    afterwards is the truth, where a person is still to be asked."""
    net.up(executors=2)
    gate = threading.Event()
    net.tools.behave("send", After(gate, Ok("the truth")))
    net.publish(tools={"send": {"timeout": "60s", "on_unknown": on_unknown}})
    net.model.script(Call(("send", {"n": 1})), Say("done"))
    net.wait_joined("executor-1", "executor-2")
    run = net.run()
    wait_until(lambda: net.tools.executions("send"), "the call is in flight", watch=net.check)
    holder = net.sql.value("SELECT w.instance FROM pawl.agent_actions a JOIN pawl.workers w ON w.incarnation = a.claim_by "
                           "WHERE a.run_id = %s", run.id).removeprefix("test/")
    net.cut(holder, postgres(net))
    cut_at = time.monotonic()
    wait_until(lambda: net.workers("dead"), "it is declared dead", watch=net.check)
    assert 9.5 < time.monotonic() - cut_at < 14
    if on_unknown == "ask":
        run.wait("suspended")
    else:
        run.wait()  # the model was told that nobody knows
        assert run.action()["status"] == "unknown"
    gate.set()
    stays(lambda: len(net.tools.executions("send")) == 1, "nobody sends it again", 2)
    net.heal(holder, postgres(net))
    assert net.processes[holder].wait_exit(timeout=60) == 75
    run.wait()
    assert run.action()["status"] == ("succeeded" if on_unknown == "ask" else "unknown")
    if on_unknown == "ask":
        assert "the truth" in net.model.asked(2)[0].results()["call_1_0"]
    assert len(run.actions()) == 1
    assert len(net.tools.executions("send")) == 1
