"""Carries out the faults, and notes what the victim had in its hands."""

import signal
import time
from typing import NamedTuple

from faults import faults, kind_of
from waiting import wait_until


class Death(NamedTuple):
    """One process that lost what it held, or may have: killed, stopped, sent away, or ended by itself."""

    fault: object  # None: by itself
    what: str
    name: str
    incarnation: int  # None: it had not registered yet
    at: float  # time.time()
    plans: list  # (run, step, version)
    calls: list  # (run, step, index, version, key)


class Attack:
    def __init__(self, fleet, seed, every_s, weights=None):
        self.fleet, self.daemons = fleet, fleet.daemons
        self.schedule = faults(seed, list(fleet.daemons), every_s, weights)
        self.began = time.monotonic()
        self.next = next(self.schedule)
        self.deaths = []
        self.done = []  # faults that were carried out
        self.missed = []  # their victim was down at that time: it had ended by itself
        self.back = {}  # name: (time, what to do)
        self.exits = []  # (name, exit code, what was done to it)
        self.leaving = {}
        self.slow = 0  # snapshots before the dead one's last statement had ended

    def passed(self):
        return time.monotonic() - self.began

    def look(self, attacking=True):
        """To be called often: does what is due."""
        for name, (at_s, what) in list(self.back.items()):
            if self.passed() >= at_s:
                del self.back[name]
                self.bring_back(self.daemons[name], what)
        for daemon in self.daemons.values():
            if daemon.process and not daemon.running and daemon.name not in self.back:
                self.ended_by_itself(daemon)
        while attacking and self.passed() >= self.next.at_s:
            self.carry_out(self.next)
            self.next = next(self.schedule)

    def bring_back(self, daemon, what):
        if what == "go on":
            daemon.go_on()
        elif not daemon.running:
            daemon.start()

    def ended_by_itself(self, daemon):
        """Sent away, it has finished; or it was told that it is dead; or it is broken."""
        fault = self.leaving.pop(daemon.name, None)
        death = self.snapshot(daemon, fault, "left" if fault else "ended")
        self.deaths.append(death)
        what = fault.what if fault else "nothing"
        if fault and death.incarnation is None:
            what = "leave at the start"  # it had not even registered, so it held nothing
        self.exits.append((daemon.name, daemon.process.returncode, what))
        self.back[daemon.name] = (self.passed() + (fault.for_s if fault else 0), "start")

    def carry_out(self, fault):
        daemon = self.daemons[fault.target]
        if not daemon.running:
            self.missed.append(fault)
            return
        self.done.append(fault)
        if fault.what == "kill":
            daemon.kill()
            self.leaving.pop(daemon.name, None)
            self.deaths.append(self.snapshot(daemon, fault, "killed"))
            self.back[daemon.name] = (self.passed() + fault.for_s, "start")
        elif fault.what == "leave":
            daemon.terminate()
            self.leaving[daemon.name] = fault
        else:
            daemon.stop()
            self.leaving.pop(daemon.name, None)
            self.deaths.append(self.snapshot(daemon, fault, "stopped"))
            self.back[daemon.name] = (self.passed() + fault.for_s, "go on")

    def snapshot(self, daemon, fault, what):
        """What it held at that moment, by the tables. Of a dead one, only when its last statement has ended."""
        at = time.time()
        ask = self.fleet.ask
        if what != "stopped":
            sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
            try:
                wait_until(lambda: ask(sql, daemon.instance)[0][0] == 0, "its connections end", 1.0, pause=0.005)
            except AssertionError:
                self.slow += 1
        sql = "SELECT max(incarnation) FROM pawl.workers WHERE instance = %s AND kind = %s AND pid = %s"
        incarnation = ask(sql, daemon.instance, kind_of(daemon.name), daemon.pid)[0][0]
        plans = ask("SELECT run_id::text, step, version FROM pawl.agent_runs WHERE ended_at IS NULL AND claim_by = %s", incarnation)
        calls = ask("SELECT run_id::text, step, index, version, key::text FROM pawl.agent_actions WHERE claim_by = %s AND status = 'running'", incarnation)
        return Death(fault, what, daemon.name, incarnation, at, plans, calls)

    def end(self):
        """Everybody is up again and goes on."""
        for daemon in self.daemons.values():
            if daemon.stopped:
                daemon.go_on()
        self.back = {name: (0, "start") for name in self.back}
        self.look(attacking=False)


def name_of_signal(code):
    return signal.Signals(-code).name if code < 0 else str(code)
