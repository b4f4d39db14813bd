"""Kills nodes of a Kafka that is ours, one at a time, and starts them again."""

import random
import subprocess
import time

from trouble import Trouble

DOWN_SECONDS = (3.0, 10.0)


class BrokerFaults:
    """every_s = 0: none."""

    def __init__(self, fleet, seed, every_s):
        self.fleet, self.every_s = fleet, every_s
        self.dice = random.Random(f"broker {seed}")
        self.began = time.monotonic()
        self.done = 0
        self.back_at = None  # of the node that is down
        self.start = None  # kafka-local at work
        self.at_s = self.pause()

    def pause(self):
        return self.dice.uniform(0.7, 1.3) * self.every_s

    def look(self):
        if not self.every_s:
            return
        passed = time.monotonic() - self.began
        if self.start is not None:
            self.finish(wait=False)
        elif self.back_at is not None:
            if passed >= self.back_at:
                self.begin_start()
        elif passed >= self.at_s:
            node = self.dice.randrange(self.fleet.kafka_nodes) + 1
            subprocess.run(self.fleet.kafka_local("stop", "-9", str(node)), check=False, capture_output=True)
            self.done += 1
            self.back_at = passed + self.dice.uniform(*DOWN_SECONDS)

    def begin_start(self):
        words = self.fleet.kafka_local("start", "-n", str(self.fleet.kafka_nodes))
        self.start = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def finish(self, wait):
        code = self.start.wait(120) if wait else self.start.poll()
        if code is None:
            return
        if code:
            raise Trouble("a node of Kafka cannot be started again")
        self.start = self.back_at = None
        self.at_s = time.monotonic() - self.began + self.pause()

    def end(self):
        """All nodes are up."""
        if self.back_at is not None and self.start is None:
            self.begin_start()
        if self.start is not None:
            self.finish(wait=True)
