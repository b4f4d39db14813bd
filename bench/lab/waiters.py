"""What it costs to wait for a provider: part of bench/run.

    waiting   --waiters runs ask a provider at once, and each is told to come back after --retry-after seconds:
              memory, CPU and connections while all of them wait; whether any came early, and whether all went on

While they wait there is nothing but rows in Postgres and a timer in the planner that asked. The provider is
bench/lab/full_provider.py; when a call came is its word.
"""

import json
import sys
import time
import urllib.request
from pathlib import Path

from figures import descendants, quantile, Watched
from trouble import Trouble, free_port, wait_for

WATCH_AT_LEAST = 5  # seconds of waiting; less says nothing about CPU
DEFINITIONS = """
models:
  full: {{dialect: openai_chat, base_url: "http://127.0.0.1:{port}/v1", model: full}}
agents:
  waiter: {{instructions: "You are a benchmark.", model: full}}
"""
STANDING = ("SELECT count(*) FILTER (WHERE claim_by IS NULL AND not_before > clock_timestamp()), extract(epoch FROM min(not_before) - clock_timestamp())::float "
            "FROM pawl.agent_runs WHERE ended_at IS NULL AND agent = 'waiter'")


class Waiters:
    """Mixed into Bench."""

    def test_waiting(self):
        count, port = self.options.waiters, free_port()
        self.start("provider", [sys.executable, str(Path(__file__).with_name("full_provider.py")), str(port), str(self.options.retry_after)])
        definitions = self.directory / "waiters.yaml"
        definitions.write_text(DEFINITIONS.format(port=port))
        self.pawl("agent", "apply", str(definitions))
        self.ledger_of = f"http://127.0.0.1:{port}/ledger"
        wait_for("the provider", self.ledger, 10)
        idle, before = self.idle(10), self.sizes()
        began = time.monotonic()
        self.request_runs("waiter", count)
        left = wait_for("runs that all wait", lambda: self.all_wait(count), self.options.retry_after)
        waits = time.monotonic() - began
        if left < WATCH_AT_LEAST + 1:
            raise Trouble(f"only {left:.0f} s are left when all have asked: fewer --waiters, or a longer --retry-after")
        during, used = self.sizes(), self.idle(min(left - 1, 15))
        standing = self.ask(STANDING)[0][0]
        wait_for("end of all runs", lambda: self.open_runs() == 0, self.options.retry_after + 300, pause=0.3)
        return {
            "waiting_runs": standing,
            "retry_after_s": self.options.retry_after,
            "all_told_within_s": round(waits, 1),
            **self.costs(count, before, during),
            "cpu_percent_of_a_core": {name: (self.percent(idle, name), self.percent(used, name)) for name in ("planner", "postgres")},
            "commits_a_second": (self.rate(idle), self.rate(used)),
            **self.punctuality(count),
        }

    def ledger(self):
        try:
            with urllib.request.urlopen(self.ledger_of, timeout=30) as answer:
                return {name: calls for name, calls in json.load(answer).items()} or True
        except OSError:
            return None

    def all_wait(self, count):
        """The seconds until the first one goes on, when all of them wait."""
        waiting, left = self.ask(STANDING)[0]
        return left if waiting == count else None

    def sizes(self):
        planners = self.processes()["planner"]
        tables = self.ask("SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE c.relnamespace = 'pawl'::regnamespace AND c.relkind = 'r'")
        return {
            "planner_mb": sum(p.memory_mb() for p in planners),
            "planner_files": sum(p.descriptors() for p in planners),
            "postgres_mb": sum(Watched(p).memory_mb("RssAnon") for p in descendants(self.postmaster)),
            "table_mb": int(tables[0][0]) / 2**20,
        }

    @staticmethod
    def costs(count, before, during):
        each = {f"bytes_per_run_{name[:-3]}": round((during[name] - before[name]) * 2**20 / count) for name in ("planner_mb", "postgres_mb", "table_mb")}
        return {**{name: (round(before[name], 1), round(during[name], 1)) for name in before}, **each}

    @staticmethod
    def percent(used, name):
        return round(used["cpu"][name] / used["seconds"] / 1e4, 2)

    @staticmethod
    def rate(used):
        return round(used["commits"] / used["seconds"], 1)

    def punctuality(self, count):
        ledger = self.ledger()
        gaps = sorted(calls[1] - calls[0] for calls in ledger.values() if len(calls) > 1)
        succeeded = self.ask("SELECT count(*) FROM pawl.agent_runs WHERE status = 'succeeded' AND agent = 'waiter'")[0][0]
        return {
            "calls": sum(map(len, ledger.values())),
            "asked_again": len(gaps),
            "asked_early": sum(gap < self.options.retry_after for gap in gaps),
            "asked_again_after_s": {"first": round(gaps[0], 2), "p50": round(quantile(gaps, 0.5), 2), "last": round(gaps[-1], 2)},
            "succeeded": f"{succeeded} of {count}",
        }
