"""What is done to whom, and when: decided by a seed alone, so that the same seed attacks in the same way."""

import random
from typing import NamedTuple

# Of a hundred faults. A long stop is longer than the 10 s after which others declare a process dead.
WEIGHTS = {"kill": 72, "stop": 10, "long stop": 10, "leave": 8}
SECONDS = {"kill": (0.1, 3.0), "stop": (0.5, 8.0), "long stop": (15.5, 20.0), "leave": (0.1, 1.0)}


class Fault(NamedTuple):
    number: int
    at_s: float
    target: str  # planner-2
    what: str  # of WEIGHTS
    for_s: float  # until it is started again, or goes on

    def __str__(self):
        return f"#{self.number} {self.at_s:.2f} s: {self.what} {self.target} for {self.for_s:.2f} s"


def kind_of(name):
    return name.partition("-")[0]


def faults(seed, names, every_s=2.0, weights=None):
    """Without end. A process that is still down or stopped by an earlier fault is left alone, and of each kind one
    process is never stopped or sent away while it is the only one left; a kill may hit the last one, too."""
    weights = weights or WEIGHTS
    dice = random.Random(seed)
    back_at = dict.fromkeys(names, 0.0)
    at_s, number = 0.0, 0
    while True:
        at_s += dice.uniform(0.5, 1.5) * every_s
        what = dice.choices(list(weights), list(weights.values()))[0]
        for_s = dice.uniform(*SECONDS[what])
        up = [name for name in names if back_at[name] <= at_s]
        if what != "kill":
            up = [name for name in up if sum(1 for other in up if kind_of(other) == kind_of(name)) > 1]
        choice = dice.random()
        if not up:
            continue
        target = up[int(choice * len(up))]
        back_at[target] = at_s + for_s
        number += 1
        yield Fault(number, at_s, target, what, for_s)
