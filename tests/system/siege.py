"""What must go on while a stack is attacked: watches health, the loop, memory, and other runs."""

import os
import threading
import time
import urllib.error
import urllib.request

import pytest


def peak_bytes(process):
    """The most memory that a process ever had resident (VmHWM)."""
    with open(f"/proc/{process.pid}/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:"))


# A sanitizer keeps what was freed, so that a bound of memory says nothing about such a build.
SANITIZED = any(word in os.environ.get("PAWL_BUILD_DIR", "") for word in ("asan", "tsan"))
bounded = pytest.mark.skipif(SANITIZED, reason="the memory of a build with sanitizers is not the program's")


class Siege:
    """A thread that looks at /livez of all processes, and one that starts good runs, one after the other.

    `innocent` starts a run and waits for it. Errors are raised at the end, by stop().
    """

    def __init__(self, stack, innocent):
        self.stack = stack
        self.innocent = innocent
        self.over = threading.Event()
        self.slowest_look = 0.0
        self.longest_tick = 0.0
        self.good_runs = []  # seconds that each took
        self.errors = []
        self.threads = [threading.Thread(target=self.guard, args=(work,), daemon=True)
                        for work in (self.look, self.run_good_ones)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def guard(self, work):
        try:
            while not self.over.is_set():
                work()
        except Exception as error:  # told by stop()
            self.errors.append(error)

    def look(self):
        for name in self.stack.processes:
            began = time.monotonic()
            status, _ = self.get(name, "/livez")
            self.slowest_look = max(self.slowest_look, time.monotonic() - began)
            assert status == 200, f"{name}: /livez said {status}"
            page = self.get(name, "/metrics")[1]
            ages = [float(line.split()[1]) for line in page.splitlines()
                    if line.startswith("pawl_loop_tick_age_seconds ")]
            assert ages, f"{name} does not tell how old its last tick is"
            self.longest_tick = max(self.longest_tick, *ages)
        self.over.wait(0.1)

    def get(self, name, path):
        url = f"http://127.0.0.1:{self.stack.ports[name]}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def run_good_ones(self):
        began = time.monotonic()
        self.innocent()
        self.good_runs.append(time.monotonic() - began)
        self.over.wait(0.2)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(60)
        if self.errors:
            raise self.errors[0]
        return self
