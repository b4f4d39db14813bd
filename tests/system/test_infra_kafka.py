"""Kafka fails under load: a real cluster of three nodes, each partition on all of them."""

import os
import shutil
import subprocess
import time

import pytest

from infra import Load, long_only
from kafka import Kafka
from stack import ROOT, Stack
from waiting import wait_until

pytestmark = long_only


class Nodes:
    """The cluster, by tests/kafka/kafka-local and Kafka's own tools."""

    def __init__(self, directory):
        self.directory = directory
        self.bootstrap = None

    def local(self, command, *words, tries=1):
        done = subprocess.run([ROOT / "tests/kafka/kafka-local", command, "-d", self.directory, *map(str, words)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode == 77:
            pytest.skip(done.stdout.strip().splitlines()[-1])
        if done.returncode != 0 and tries > 1:
            return self.local(command, *words, tries=tries - 1)
        assert done.returncode == 0, f"kafka-local {command} {words}: {done.stdout}"
        return done.stdout

    def start(self, *words):
        # A node gives up when it has not found the others within a minute, which busy machines need.
        out = self.local("start", "-n", 3, *words, tries=3)
        self.bootstrap = out.partition("bootstrap.servers=")[2].split()[0]

    def kill(self, *nodes):
        self.local("stop", "-9", *nodes)

    def tool(self, name, *words):
        return self.local("tool", name, *words)

    def lag(self, groups):
        """Records that these groups have not looked at, by Kafka's own tool."""
        lines = [line.split() for line in self.tool("groups", "--describe", "--all-groups").splitlines()]
        return sum(int(words[5]) for words in lines if words and words[0] in groups and words[5].isdigit())


@pytest.fixture(scope="module")
def nodes(scratch):
    missing = [program for program in ("java", "mvn") if not shutil.which(program)]
    if missing:
        pytest.skip(f"not installed: {' and '.join(missing)}; ./dev deps kafka installs them")
    nodes = Nodes(scratch / "kafka")
    nodes.start("-c")
    yield nodes
    nodes.local("stop", "-9")


@pytest.fixture
def real(request, nodes, make_own):
    """A stack on the three nodes, with topics of its own."""
    nodes.start()  # what the test before has killed

    class RealStack(Stack):
        def make_kafka(self):
            return Kafka(self.build / "pawl", self.directory, f"{self.name}-{os.getpid()}", real=nodes.bootstrap)

    stack = make_own(stack_kind=RealStack)
    stack.up(planners=2, executors=2)
    stack.wait_joined("planner-1", "planner-2", "executor-1", "executor-2")
    return stack


def wait_lag_nought(nodes, stack):
    wait_until(lambda: nodes.lag(set(stack.kafka.groups.values())) == 0, "the groups have looked at all records", 120, pause=1)


def leader_of(stack, topic):
    """The node that leads partition 0, by kcat."""
    for line in stack.kafka.kcat("-L", "-t", topic).decode().splitlines():
        if "partition 0, leader" in line:
            return int(line.partition("leader ")[2].partition(",")[0])
    raise AssertionError(f"{topic} has no partition 0")


def test_infra_kafka_leader_killed(nodes, real):
    load = Load(real, by_kafka=True).begin()
    with load.fault("leader of `requests`, one of 3 nodes, killed; started again after 20 s") as row:
        nodes.kill(leader_of(real, real.kafka.names["requests"]))
        load.ask_for(["go"] * 10)
        began = time.monotonic()
        load.wait_accepted()
        row["remarks"].append(f"10 requests written meanwhile were accepted in {time.monotonic() - began:.1f} s")
        time.sleep(max(0, 20 - (time.monotonic() - began)))  # the length of the fault
        nodes.start()
    load.end()
    wait_lag_nought(nodes, real)


def test_infra_kafka_down_for_a_minute(nodes, real):
    load = Load(real, by_kafka=True).begin()
    with load.fault("all 3 nodes of Kafka killed; started again after 60 s") as row:
        since = time.monotonic()
        nodes.kill()
        time.sleep(60)  # the length of the fault
        row["remarks"].append(f"{load.pace(since + 5, time.monotonic()):.1f} steps/s meanwhile")
        nodes.start()
        began = time.monotonic()
        load.ask_for(["go"] * 5)
        load.wait_accepted(180)
        row["remarks"].append(f"new requests accepted {time.monotonic() - began:.1f} s after the start")
    load.end()
    wait_lag_nought(nodes, real)


def offsets_begin_anew(stack):
    """Asks for the metadata of all topics, which makes those that are gone."""
    try:
        stack.kafka.start()
        return not stack.kafka.values(stack.kafka.names["requests"])
    except AssertionError:
        return False  # gone, and not yet there again


def test_infra_kafka_topics_deleted_and_made_anew(nodes, real):
    load = Load(real, by_kafka=True).begin()
    with load.fault("all topics deleted and made anew") as row:
        since = time.monotonic()
        nodes.tool("topics", "--delete", "--topic", f"{real.kafka.prefix}.*")
        wait_until(lambda: offsets_begin_anew(real), "the topics are made anew", 60, pause=0.3)
        row["remarks"].append(f"{load.pace(since, time.monotonic()):.1f} steps/s meanwhile")
        began = time.monotonic()
        load.ask_for(["go"] * 5)
        load.wait_accepted(180)
        row["remarks"].append(f"new requests accepted in {time.monotonic() - began:.1f} s")
    load.end()
    wait_lag_nought(nodes, real)


@pytest.mark.parametrize("where", ["earliest", "latest"])
def test_infra_kafka_groups_reset(nodes, real, where):
    """Kafka resets only groups without members, so everybody leaves in order, and comes back."""
    load = Load(real, by_kafka=True, long_calls=False).begin()
    with load.fault(f"groups reset to the {where}, all processes restarted for it") as row:
        for process in real.processes.values():
            process.terminate()
        for process in real.processes.values():
            assert process.wait_exit() == 0
        groups = [word for group in real.kafka.groups.values() for word in ("--group", group)]
        nodes.tool("groups", "--reset-offsets", *groups, "--all-topics", f"--to-{where}", "--execute")
        row["remarks"].append(f"{nodes.lag(set(real.kafka.groups.values()))} records to be read again")
        for process in real.processes.values():
            process.start()
        load.go_on()
    load.end()
    wait_lag_nought(nodes, real)
    assert real.sql.value("SELECT count(*) FROM pawl.agent_runs") == load.asked
