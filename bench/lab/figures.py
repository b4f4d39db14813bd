"""What /proc says of processes, and small sums."""

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * q))]


def parent_of(stat):
    return int(stat.read_text().rpartition(")")[2].split()[1])


def descendants(pid):
    """The process and all that came of it."""
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            children.setdefault(parent_of(path), []).append(int(path.parent.name))
        except OSError:
            continue  # it has ended meanwhile
    found, at = [pid], 0
    while at < len(found):
        found += children.get(found[at], [])
        at += 1
    return found


class Watched:
    """One process, looked at from outside."""

    def __init__(self, pid):
        self.pid = pid

    def cpu_us(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000 // TICK

    def memory_mb(self, field="VmRSS"):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
        return 0.0

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))
