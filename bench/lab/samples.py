"""What a soak looks at every few seconds: processes, tables and indexes, work."""

import json
import time

from figures import Watched, descendants
from trouble import Trouble

# Tables of the schema by their parents, so that partitions count together.
TABLES = """
SELECT coalesce(p.relname, c.relname) AS name, sum(pg_relation_size(c.oid)), sum(pg_indexes_size(c.oid)),
       sum(coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)), sum(s.n_live_tup), sum(s.n_dead_tup), sum(s.n_tup_ins),
       sum(s.n_tup_upd), sum(s.n_tup_hot_upd), sum(s.n_tup_del), sum(s.autovacuum_count)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pawl'
JOIN pg_stat_all_tables s ON s.relid = c.oid
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relkind = 'r' GROUP BY 1
"""
COLUMNS = ("heap", "indexes", "toast", "live", "dead", "inserted", "updated", "updated_hot", "deleted", "vacuums")

INDEXES = """
SELECT coalesce(p.relname, c.relname) AS name, sum(pg_relation_size(c.oid))
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pawl'
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relkind = 'i' GROUP BY 1
"""


class Sampler:
    """parts: {name: pid of a process that stays}; the rest of Postgres is found below its postmaster."""

    def __init__(self, fleet, parts):
        self.fleet, self.parts, self.began = fleet, parts, time.monotonic()
        self.samples = []

    def passed(self):
        return time.monotonic() - self.began

    def take(self):
        sample = {"at_s": round(self.passed(), 2), "processes": {}, "tables": {}, "indexes": {}}
        for name, pid in self.parts.items():
            watched = Watched(pid)
            sample["processes"][name] = {"rss_mb": round(watched.memory_mb(), 2), "fds": watched.descriptors(), "cpu_us": watched.cpu_us()}
        if self.fleet.postmaster:
            sample["processes"]["postgres"] = self.postgres()
        for name, *values in self.fleet.ask(TABLES):
            sample["tables"][name] = dict(zip(COLUMNS, map(int, values)))
        sample["indexes"] = {name: int(size) for name, size in self.fleet.ask(INDEXES)}
        sample["lag"] = self.lag()
        # Each run is announced twice, when it was accepted and when it has ended. Counting the rows themselves would
        # clean up the very index whose size is watched here.
        tables = sample["tables"]
        sample["unfinished"] = max(0, 2 * tables["agent_runs"]["inserted"] - tables["announcements"]["inserted"])
        self.samples.append(sample)
        return sample

    def postgres(self):
        """All of its processes together; memory of their own, without the shared buffers that each of them maps."""
        total = {"rss_mb": 0.0, "fds": 0, "cpu_us": 0}
        for pid in descendants(self.fleet.postmaster):
            try:
                watched = Watched(pid)
                found = watched.memory_mb("RssAnon"), watched.descriptors(), watched.cpu_us()
            except OSError:
                continue  # it has ended meanwhile
            for name, value in zip(total, found):
                total[name] += value
        total["rss_mb"] = round(total["rss_mb"], 2)
        return total

    def lag(self):
        """Records that nobody has looked at yet, all groups and topics together; None: the broker cannot say."""
        try:
            rows = json.loads(self.fleet.pawl("topics", "lag", "--json"))
        except (Trouble, ValueError):
            return None
        return sum(max(row.get("lag") or 0, 0) for row in rows)


# Read from the pages themselves, so once, at the end: how full are the leaves of an index, and what part of a
# table is neither rows nor the room that its fillfactor keeps.
DENSITY = """
SELECT c.relname, (public.pgstatindex(c.oid::regclass)).avg_leaf_density
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pawl'
JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
WHERE c.relkind = 'i' AND pg_relation_size(c.oid) > 1048576 ORDER BY 1
"""
DEAD_SPACE = """
SELECT c.relname, t.dead_tuple_percent, t.approx_free_percent
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pawl',
LATERAL public.pgstattuple_approx(c.oid::regclass) t
WHERE c.relkind = 'r' AND pg_relation_size(c.oid) > 1048576 ORDER BY 1
"""


def bloat(fleet):
    """{} where the extension cannot be had."""
    try:
        fleet.ask("CREATE EXTENSION IF NOT EXISTS pgstattuple SCHEMA public")
        indexes = {name: round(float(density), 1) for name, density in fleet.ask(DENSITY)}
        tables = {name: (round(float(dead), 1), round(float(free), 1)) for name, dead, free in fleet.ask(DEAD_SPACE)}
    except Trouble:
        return {}
    return {"leaf_density": indexes, "dead_and_free": tables}
