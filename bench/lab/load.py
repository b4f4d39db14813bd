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

    def words(self):
        return ["kcat", "-P", "-b", self.fleet.bootstrap, "-t", self.fleet.topics["requests"], "-X", "linger.ms=5", "-X", "acks=all"]

    def send(self, numbers, text, again=()):
        """Returns when the broker has them all; `again`: some of them twice."""
        lines = "".join(self.line(number, text(number)) for number in [*numbers, *again])
        done = subprocess.run(self.words(), input=lines, text=True, capture_output=True, timeout=60, check=False)
        if done.returncode:
            raise Trouble(f"kcat cannot produce: {done.stderr.strip()}")
        self.sent += len(numbers)

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
