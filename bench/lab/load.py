"""Requests, as any producer would send them: bare JSON on the topic of requests."""

import json
import subprocess
import time
import uuid

from trouble import Trouble


class Producer:
    """kcat that stays and is given lines; or, for batches whose acknowledgement matters, one for each batch."""

    def __init__(self, fleet, agent):
        self.fleet, self.agent = fleet, agent
        self.marker = uuid.uuid4().hex[:12]
        self.sent = 0
        self.pipe = None

    def line(self, number, text):
        return json.dumps({"agent": self.agent, "input": text, "id": f"{self.marker}-{number}"}) + "\n"

    def lost(self):
        """Requests that were sent and have not been accepted."""
        rows = self.fleet.ask("SELECT request_id FROM pawl.agent_run_inputs WHERE request_id LIKE %s", self.marker + "-%")
        return sorted(set(range(self.sent)) - {int(row[0].rpartition("-")[2]) for row in rows})

    def words(self):
        return ["kcat", "-P", "-b", self.fleet.bootstrap, "-t", self.fleet.topics["requests"], "-X", "linger.ms=5", "-X", "acks=all"]

    def send(self, numbers, text, again=()):
        """Returns when the broker has them all; `again`: some of them twice."""
        lines = "".join(self.line(number, text(number)) for number in [*numbers, *again])
        done = subprocess.run(self.words(), input=lines, text=True, capture_output=True, timeout=60, check=False)
        if done.returncode:
            raise Trouble(f"kcat cannot produce: {done.stderr.strip()}")
        self.sent = max(self.sent, max(numbers) + 1)

    def start(self, number, text):
        """Without Kafka, as the command line does: the run is there when it returns."""
        words = ["run", "start", "--agent", self.agent, "--class", self.fleet.work_class, "--input", text]
        self.fleet.pawl(*words, "--id", f"{self.marker}-{number}")
        self.sent = max(self.sent, number + 1)

    def stream(self, number, text):
        """One more line for the process that stays."""
        if self.pipe is None:
            self.pipe = subprocess.Popen(self.words(), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.pipe.stdin.write(self.line(number, text))
        self.pipe.stdin.flush()
        self.sent += 1

    def close(self):
        if self.pipe:
            self.pipe.stdin.close()
            if self.pipe.wait(60):
                raise Trouble("kcat could not produce all requests")
            self.pipe = None


def paced(rate, total, seconds):
    """How many should have been sent by now: a function that is called again and again."""
    began = time.monotonic()

    def due():
        passed = time.monotonic() - began
        return min(total, int(min(passed, seconds) * rate))

    return due
