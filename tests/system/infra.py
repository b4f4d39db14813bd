"""Load that goes on through a fault, and the judgement afterwards.

    load = Load(stack).begin()
    with load.fault("Postgres restarted, fast"):
        stack.cluster.restart("fast")
    load.end()

The judges are the ledger of the tools and that of the model, and the tables read by their owner. Time
without progress is the longest time in which neither a model was asked nor a tool called. What was
measured is printed at the end of pytest's output, as a table in Markdown.
"""

import json
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from model import Call, Reply, Say
from tool import After
from waiting import wait_until

LONG = bool(os.environ.get("PAWL_TEST_LONG"))
ASAN = "asan" in os.environ.get("PAWL_BUILD_DIR", "")

if not LONG:
    WHY_NOT = "takes minutes; runs with ./dev test --long"
elif ASAN or os.environ.get("PAWL_TEST_KAFKA"):
    WHY_NOT = "measures, which is done once, on the dev build"
else:
    WHY_NOT = ""
takes_long = pytest.mark.skipif(not LONG, reason="takes half a minute or more; runs with ./dev test --long")
long_only = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

HEADINGS = ("fault", "lasted", "without progress", "going on after its end", "steps/s before, after", "lost", "doubled",
            "declared dead alive", "unknown by it", "model calls repeated", "remarks")

rows = []  # what all tests of this session measured


def table():
    """What was measured, for people and for the documentation."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return lines


def write_table(directory):
    path = Path(directory) / "results" / "infrastructure.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(table()) + "\n")


class Onward(Reply):
    """Calls of `send` at each step, until the test says that it is enough; then the answer."""

    def __init__(self, load):
        super().__init__()
        self.load = load

    def serve(self, handler, ask):
        load, text = self.load, str(ask.messages)
        if "long model call" in text:
            return Say("done", pause=load.gate).serve(handler, ask)
        if "long tool call" in text:
            reply = Call(("long", {})) if ask.step == 1 else Say("done")
            return reply.serve(handler, ask)
        if not handler.wait(seconds=load.model_s):
            return False
        if load.enough.is_set():
            return Say("done").serve(handler, ask)
        calls = [("send", {"step": ask.step, "call": n}) for n in range(load.calls)]
        return Call(*calls).serve(handler, ask)


class Load:
    """`runs` runs of as many steps as there is time for, `calls` calls a step, none of them repeatable;
    beside them one long model call and one long tool call, which take from begin() to end()."""

    def __init__(self, stack, runs=10, calls=2, model_s=0.25, tool_s=0.15, long_calls=True, model=None, by_kafka=False):
        self.stack = stack
        self.count, self.calls = runs, calls
        self.model_s, self.tool_s = model_s, tool_s
        self.long_calls = long_calls
        self.model = model or {}
        self.by_kafka = by_kafka  # the runs are asked for in the topic, not by the command line
        self.enough, self.gate = threading.Event(), threading.Event()
        self.runs = []
        self.measured = None
        self.asked = 0

    # --- before ----------------------------------------------------------------------------------

    def publish(self, **tool):
        self.stack.tools.behave("send", After(self.tool_s))
        self.stack.tools.behave("long", After(self.gate))
        self.stack.publish(tools={"send": tool, "long": {"timeout": "20m", **tool}},
                           agent={"limits": {"steps": 10000, "time": "1h"}},
                           model={"timeout": "20m", "silence_timeout": "20m", **self.model})
        self.stack.model.script(Onward(self))
        return self

    def begin(self, **tool):
        self.publish(**tool)
        texts = ["go"] * self.count
        if self.long_calls:
            texts += ["a long model call", "a long tool call"]
        if self.by_kafka:
            self.ask_for(texts)
            self.wait_accepted()
        else:
            self.runs = [self.stack.run(text) for text in texts]
        self.wait_pace()
        return self

    def ask_for(self, texts):
        """Requests in the topic."""
        requests = [json.dumps({"id": f"{self.asked + n}", "agent": "agent", "input": text}).encode()
                    for n, text in enumerate(texts)]
        self.stack.kafka.kcat("-P", "-t", self.stack.kafka.names["requests"], "-X", "acks=all",
                              data=b"\n".join(requests) + b"\n")
        self.asked += len(texts)

    def wait_accepted(self, timeout=90):
        """Until all that was asked for are runs, one each."""
        wait_until(lambda: self.stack.sql.value("SELECT count(*) FROM pawl.requests") == self.asked,
                   f"{self.asked} requests are accepted", timeout, watch=self.stack.check)
        self.runs = self.stack.runs()
        assert len(self.runs) == self.asked

    def wait_pace(self, steps=3):
        """Until every run has made steps, and the long calls are in flight."""
        begun = self.count * steps
        wait_until(lambda: len(self.stack.tools.executions("send")) >= begun * self.calls,
                   "the load is under way", 90, watch=self.stack.check)
        if self.long_calls:
            wait_until(lambda: self.stack.tools.executions("long"), "the long call is in flight")

    # --- the fault -------------------------------------------------------------------------------

    def moments(self):
        """When something went on: a model was asked, or a tool was called."""
        with self.stack.model.lock:
            asks = [ask.at for ask in self.stack.model.asks]
        return sorted(asks + [entry.at for entry in self.stack.tools.executions("send")])

    def go_on(self, moments=30, timeout=120):
        """Until so many more things have happened, which is about as long as three steps of a run."""
        seen = len(self.moments())
        wait_until(lambda: len(self.moments()) >= seen + moments, "the load goes on", timeout, watch=self.stack.check)

    def pace(self, since, until):
        asks = [at for at in self.moments() if since <= at <= until]
        return len(asks) / (1 + self.calls) / max(until - since, 0.001)

    @contextmanager
    def fault(self, name, watch_s=3, remarks=""):
        """Measures what happens inside, and until the load goes on as before."""
        begin = time.monotonic()
        wait_until(lambda: time.monotonic() - begin >= watch_s, "the pace before is known")
        since = time.monotonic()
        row = {"name": name, "remarks": [remarks] if remarks else [], "before": self.pace(begin, since)}
        self.measured = row
        yield row
        until = time.monotonic()
        self.go_on()
        on = time.monotonic()
        wait_until(lambda: time.monotonic() - on >= watch_s, "the pace afterwards is known")
        moments = [at for at in self.moments() if at >= since - 1]
        row["lasted"] = until - since
        row["gap"] = max(b - a for a, b in zip(moments, moments[1:]))
        row["after_end"] = next(at for at in moments if at >= until) - until
        row["after"] = self.pace(on, time.monotonic())

    # --- afterwards ------------------------------------------------------------------------------

    def end(self, timeout=180, **allowed):
        """Lets all runs come to their ends, and judges: see judge()."""
        self.enough.set()
        self.gate.set()
        open_runs = list(self.runs)

        def ended():
            open_runs[:] = [run for run in open_runs if run.status not in ("succeeded", "failed", "cancelled")]
            return not open_runs

        try:
            wait_until(ended, "all runs have ended", timeout, pause=0.2, watch=self.stack.check)
        except AssertionError as failure:
            raise AssertionError(f"{failure}: " + "; ".join(run.describe() for run in open_runs[:5])) from None
        return self.judge(**allowed)

    def counts(self):
        """What the promises say must be nought, by the ledgers and the tables."""
        sql, executions = self.stack.sql, self.stack.tools.executions()
        actions = sql("SELECT run_id::text, step, index, version, status, key::text "
                      "FROM pawl.agent_actions WHERE run_id = ANY (%s::uuid[])", [run.id for run in self.runs])
        succeeded = {a["key"] for a in actions if a["status"] == "succeeded"}
        executed = {e.key for e in executions}
        places = {(e.run, e.step, e.call) for e in executions}
        steps = sql.value("SELECT sum(step) FROM pawl.agent_runs WHERE run_id = ANY (%s::uuid[])",
                          [run.id for run in self.runs])
        return {
            "lost": sum(1 for run in self.runs if run.status != "succeeded") + len(executed ^ succeeded),
            "doubled": len(executions) - min(len(executed), len(places)),
            "dead": len(self.stack.workers("dead")),
            "unknown": sum(1 for a in actions if a["status"] == "unknown"),
            "repeated": len(self.stack.model.asked()) - int(steps),
        }

    def judge(self, **allowed):
        """All counts are nought, but for what the test says is right by the rules; None: any number."""
        counts = self.counts()
        if self.measured:
            self.report(counts)
        wrong = {name: (n, allowed.get(name, 0)) for name, n in counts.items()
                 if allowed.get(name, 0) is not None and n != allowed.get(name, 0)}
        assert not wrong, f"{wrong} (counted, expected); {[run.describe() for run in self.runs if run.status != 'succeeded'][:3]}"
        return counts

    def report(self, counts):
        row = self.measured
        if "gap" not in row:
            return
        rows.append((row["name"], f"{row['lasted']:.1f} s", f"{row['gap']:.1f} s", f"{row['after_end']:.1f} s",
                     f"{row['before']:.0f}, {row['after']:.0f}", counts["lost"], counts["doubled"], counts["dead"],
                     counts["unknown"], counts["repeated"], "; ".join(row["remarks"])))
