"""How each numbered fault point is reached: what is published, what the model and the tools do, and
what is asked for until the victim has died there. Most points are on the way of any run."""

import os
import subprocess
import threading

from model import Call, Say, Status
from tool import After, CloseWithoutAnswer
from waiting import wait_until

LOOK = {"look": {"read_only": True, "timeout": "10s"}}
SEND = {"send": {"on_unknown": "probe", "timeout": "2s"}}  # not repeatable; can be asked whether it happened
PAY = {"pay": {"timeout": "10s"}}  # not repeatable, and nobody can be asked


class Plain:
    """Requests by Kafka, one after the other: a step with a call of each kind, then the answer."""

    tools = {**LOOK, **SEND, **PAY}
    status = "succeeded"
    asks = 1  # how often step 1 has to be asked for
    wasted = 0  # model calls that the deaths may cost
    orphans = True  # something is in the hands of who dies
    signs = ("rows", "ledgers", "events")  # by which it shows that somebody has taken it
    tries = 60

    def config(self, kill, kind):
        """Settings of the processes of a kind."""
        return {}

    def set_up(self, kill):
        kill.stack.publish(tools=self.tools)
        kill.stack.model.script(Call(*[(tool, {"n": 1}) for tool in self.tools]), Say("done"))
        if kill.point == "executor_during_call":
            for tool in self.tools:  # long enough to have a middle
                kill.stack.tools.behave(tool, After(0.5))

    def before(self, kill):
        """Just before the victim is started with its fault armed."""

    def feed(self, kill, n):
        """One more piece of work; until it has passed, or the victim is dead."""
        kill.request(n)
        kill.wait(lambda: kill.passed(n), "the run has ended")

    def after(self, kill):
        """Just after the death, before the dead one is started again."""

    def judge(self, kill):
        """What is special about this way to die."""


class Blind(Plain):
    """The only call is not repeatable, and nobody can say whether it happened."""

    tools = PAY
    may_have_happened = {"executor_during_call", "executor_after_call"}

    def judge(self, kill):
        run = kill.runs()[-1]
        rows, sent = run.actions(), [e for e in kill.stack.tools.executions("pay") if e.run == run.id]
        assert [row["status"] for row in rows] == ["unknown"], run.describe()
        assert len(sent) == (1 if kill.point in self.may_have_happened else 0)
        told = [ask for ask in kill.stack.model.asked(2) if ask.user == kill.texts[run.id]][-1]
        assert "may have" in told.results()["call_1_0"] or "unknown" in told.results()["call_1_0"]


class Probe(Plain):
    """The tool closes the connection without an answer, so that it has to be asked."""

    tools = {"send": {"on_unknown": "probe", "timeout": "500ms", "connect_timeout": "400ms"}}

    def set_up(self, kill):
        super().set_up(kill)
        kill.stack.set(send_by_ms=1000)
        kill.stack.tools.behave("send", CloseWithoutAnswer())


class Thinking(Plain):
    """Wherever it dies, a model call may be in flight."""

    wasted = 1


class ModelFails(Plain):
    """The first answer of the model is an error that may pass."""

    asks = 2

    def set_up(self, kill):
        kill.stack.publish(tools=self.tools)
        kill.stack.model.script([Status(500), Call(*[(tool, {"n": 1}) for tool in self.tools])], Say("done"))


class Cancel(Plain):
    """A person cancels the run while a call is in flight."""

    tools = {"pay": {"timeout": "60s"}}
    status = "cancelled"

    def set_up(self, kill):
        super().set_up(kill)
        never = threading.Event()
        if kill.kind == "planner":
            kill.stack.model.script(Say("done", pause=never))
        else:
            kill.stack.tools.behave("pay", After(never))

    def feed(self, kill, n):
        kill.request(n)
        kill.wait(lambda: kill.in_flight(n), "a call is in flight")
        kill.stack.pawl("run", "cancel", kill.run(n).id)
        kill.wait(lambda: kill.passed(n) and not kill.stack.sql("SELECT FROM pawl.cancellations"),
                  "the holder has let go")

    def judge(self, kill):
        if kill.kind == "executor":
            for run in kill.runs():
                assert [row["status"] for row in run.actions()] == ["unknown"], run.describe()
        wait_until(lambda: not kill.stack.sql("SELECT FROM pawl.cancellations"), "no cancellation is left over")


class Due(Plain):
    """No doorbell is heard: what is to be done is found in Postgres."""

    def config(self, kill, kind):
        return kill.kafka_without_bells() if kill.kind == "executor" and kind == "planner" else {}

    def feed(self, kill, n):
        kill.start_run(n)
        kill.wait(lambda: kill.passed(n), "the run has ended")


class Take(Due):
    """Runs begun by the command line: their announcements are due from the start."""

    signs = ("events",)


class Suspect(Plain):
    """A planner has died just before: the records that it may have held are read one at a time."""

    def before(self, kill):
        victim = kill.victim.start()
        kill.stack.wait_joined(victim.name)
        wait_until(lambda: kill.stack.sql.value(
            "SELECT lock_server FROM pawl.workers WHERE instance = %s", f"test/{victim.name}"), "it has its lock")
        victim.kill()
        if kill.way == "peer":
            wait_until(lambda: kill.stack.workers("dead"), "the peer has noticed")


class Queued(Plain):
    """One run at a time: the other one of each two waits for a place until the first has ended."""

    def set_up(self, kill):
        super().set_up(kill)
        kill.stack.pawl("tenant", "set", "default", "--concurrency", "1")

    def feed(self, kill, n):
        kill.request(2 * n)
        kill.request(2 * n + 1)
        kill.wait(lambda: kill.passed(2 * n) and kill.passed(2 * n + 1), "both runs have ended")


class DeadLetter(Plain):
    """Records that cannot be read as requests."""

    def feed(self, kill, n):
        kill.stack.kafka.produce(kill.stack.kafka.names["requests"], f"nonsense {n}", key=f"k{n}")
        kill.bad.append(f"nonsense {n}")
        kill.wait(lambda: self.buried(kill).get(f"nonsense {n}"), "it is in the dead letters", pause=0.2)

    @staticmethod
    def buried(kill):
        counts = {}
        for record in kill.stack.kafka.consume(kill.stack.kafka.dlq):
            counts[record["payload"]] = counts.get(record["payload"], 0) + 1
            kill.event_times.append(record["ts"] / 1000)
        return counts

    def after(self, kill):
        kill.later.append(lambda: self.again(kill))

    def again(self, kill):
        """The record is read once more, and what comes behind it is served."""
        wait_until(lambda: self.buried(kill).get(kill.bad[-1]) == 2, "it is read again", pause=0.2)
        kill.request(0)

    def judge(self, kill):
        counts = self.buried(kill)
        assert [counts.pop(text) for text in kill.bad] == [1] * (len(kill.bad) - 1) + [2]
        assert not counts


class Register(Plain):
    """It dies before it has looked at anything; a run comes later."""

    orphans = False

    def feed(self, kill, n):
        kill.wait(lambda: False, "the victim dies at its start")

    def after(self, kill):
        kill.later.append(lambda: kill.request(0))


class Declare(Plain):
    """A third process was killed in a call; the victim declares it dead and dies at once, while all
    others are asleep."""

    tries = 1

    def set_up(self, kill):
        super().set_up(kill)
        self.wasted = 1 if kill.kind == "planner" else 0  # by the third process
        self.never = threading.Event()
        calls = Call(*[(tool, {"n": 1}) for tool in self.tools], pause=self.never)
        if kill.kind == "planner":
            kill.stack.model.script([calls, Call(*calls.calls)], Say("done"))

    def before(self, kill):
        if kill.kind == "executor":
            self.hold(kill)
        third = kill.third = kill.stack.daemon(kill.kind, 3)
        kill.stack.wait_joined(third.name)
        kill.request(0)
        wait_until(lambda: kill.in_flight(0), "the third holds something", watch=kill.stack.check)
        kill.start_peer()

    def hold(self, kill):
        for tool in self.tools:
            kill.stack.tools.behave(tool, After(self.never), After(0))

    def feed(self, kill, n):
        asleep = [p for p in kill.stack.processes.values() if p not in (kill.victim, kill.third)]
        for process in asleep:
            process.stop()
        kill.third.kill()
        kill.wait(lambda: False, "the victim declares it dead")
        for process in asleep:
            process.go_on()


class Leave(Plain):
    """SIGTERM while it holds a call."""

    tools = PAY

    def set_up(self, kill):
        super().set_up(kill)
        leaves = kill.point.endswith("after_leave")
        self.wasted = 1 if leaves and kill.kind == "planner" else 0
        self.orphans = leaves
        if kill.kind == "planner":
            kill.stack.model.script(Call(("pay", {"n": 1}), pause=0.7), Say("done"))
        else:
            kill.stack.tools.behave("pay", After(0.7))

    def feed(self, kill, n):
        kill.request(n)
        kill.wait(lambda: kill.in_flight(n), "a call is in flight")
        if kill.holder(n) == f"test/{kill.victim.name}":
            kill.victim.terminate()
        kill.wait(lambda: kill.passed(n), "the run has ended")


SCENES = {
    "planner_after_announce": [Thinking],  # that a run was accepted is announced while its first step is planned
    "planner_after_admit": [Queued],
    "planner_after_open": [Suspect],
    "planner_after_close": [Suspect],
    "planner_after_dead_letter": [DeadLetter],
    "planner_during_model_call": [Thinking],
    "planner_after_model_call": [Thinking],
    "planner_after_retry_commit": [ModelFails],
    "planner_after_cancel": [Cancel],
    "planner_after_take": [Take],
    "executor_after_claim": [Plain, Blind],
    "executor_before_send": [Plain, Blind],
    "executor_during_call": [Plain, Blind],
    "executor_after_call": [Plain, Blind],
    "executor_after_cancel": [Cancel],
    "executor_after_probe_claim": [Probe],
    "executor_after_probe": [Probe],
    "daemon_after_register": [Register],
    "daemon_after_due": [Due],
    "daemon_after_offset": [Thinking],
    "daemon_after_declare": [Declare],
    "daemon_after_leave": [Leave],
    "daemon_after_hand_back": [Leave],
}


def run_without_kafka(stack, text):
    """A run begun by the command line, which rings no doorbell."""
    env = {**os.environ, "PAWL_POSTGRES_DSN": stack.dsn(), "PAWL_AS": "tester"}
    words = [stack.build / "pawl", "run", "start", "--agent", "agent", "--input", text]
    return subprocess.run(words, env=env, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout.split()[-1]
