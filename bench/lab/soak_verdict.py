"""Whether a soak held: what must be flat is flat, and what grows does so only with the rows that are kept.

Everything compares the last third of the time with the third before it: the first one is for filling caches.
"""

from typing import NamedTuple

KB, MB = 1 << 10, 1 << 20
# Rows of these stay; the others are queues and registers, which may not grow with the runs that went through.
KEPT = ("agent_runs", "agent_run_inputs", "agent_step_content", "agent_actions", "requests")
# Indexes of rows that are only live for a while.
PASSING = ("agent_runs_due", "agent_runs_live", "agent_actions_claimed", "agent_actions_probed", "agent_runs_tree")
QUEUES = ("announcements", "cancellations", "unknown_calls", "workers", "suspect_records", "audit")


class Line(NamedTuple):
    what: str
    held: bool
    why: str


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def thirds(samples):
    count = len(samples) // 3
    return samples[count : 2 * count], samples[2 * count :]


def flat(what, before, after, factor, slack, unit="", pick=median):
    was, now = pick(before), pick(after)
    return Line(what, now <= was * factor + slack, f"{was:,.1f}{unit} then {now:,.1f}{unit}")


def processes(second, third):
    for name in third[-1]["processes"]:
        memory = [[sample["processes"][name]["rss_mb"] for sample in part] for part in (second, third)]
        yield flat(f"memory of {name}", *memory, 1.03, 1.0, " MB")
        descriptors = [[sample["processes"][name]["fds"] for sample in part] for part in (second, third)]
        if name != "postgres":  # whose workers for autovacuum come and go
            yield flat(f"descriptors of {name}", *descriptors, 1.0, 8)  # a call has one while it lasts


def per_row(samples, table, column):
    """Bytes that one more row cost, over these samples."""
    first, last = samples[0]["tables"][table], samples[-1]["tables"][table]
    rows = last["inserted"] - first["inserted"] - (last["deleted"] - first["deleted"])
    return (last[column] - first[column]) / max(rows, 1)


def kept_tables(samples, second, third):
    for table in KEPT:
        if table not in samples[0]["tables"]:
            continue
        for column in ("heap", "indexes", "toast"):
            if samples[-1]["tables"][table][column] < MB:
                continue  # pages come in steps: too few of them to tell
            was, now = per_row(second, table, column), per_row(third, table, column)
            yield Line(f"{table}: {column}", now <= was * 1.15 + 8, f"{was:,.0f} then {now:,.0f} bytes for one more row")
        yield dead_rows(table, samples, third)


def dead_rows(table, samples, third):
    """Stock autovacuum comes when a fifth of the rows is dead; it looks once a minute, and needs a moment."""
    first, last = samples[0], samples[-1]
    made = sum(last["tables"][table][column] - first["tables"][table][column] for column in ("updated", "deleted"))
    in_two_minutes = 120 * made / (last["at_s"] - first["at_s"])
    dead = max(sample["tables"][table]["dead"] - 0.2 * sample["tables"][table]["live"] for sample in third)
    most = max(sample["tables"][table]["dead"] for sample in third)
    return Line(f"{table}: dead rows", dead <= 50 + in_two_minutes, f"at most {most:,} beside {last['tables'][table]['live']:,} live ones")


def passing(second, third):
    for index in PASSING:
        sizes = [[sample["indexes"].get(index, 0) / KB for sample in part] for part in (second, third)]
        yield flat(f"index {index}", *sizes, 1.5, 256, " KB", pick=max)
    for table in QUEUES:
        sizes = [[(sample["tables"][table]["heap"] + sample["tables"][table]["indexes"]) / KB for sample in part] for part in (second, third)]
        yield flat(f"table {table}", *sizes, 1.5, 256, " KB", pick=max)


def fullness(facts):
    """Of what was read from the pages at the end."""
    bloat = (facts or {}).get("bloat") or {}
    for name, density in bloat.get("leaf_density", {}).items():
        if not name.startswith(PASSING):
            yield Line(f"leaves of {name}", density >= 45, f"{density} % full")
    for name, (dead, free) in bloat.get("dead_and_free", {}).items():
        kept_free = 40 if name.startswith("agent_runs_") else 0  # its fillfactor
        yield Line(f"pages of {name}", dead <= 20 and free <= kept_free + 15, f"{dead} % dead rows, {free} % free")


def work(samples, second, third, facts):
    lag = [sample["lag"] for sample in second + third if sample["lag"] is not None]
    if lag:
        yield Line("lag", max(lag) <= 1000 and median(lag) <= 100, f"median {median(lag)}, at most {max(lag)} records")
    waiting = [[sample["unfinished"] for sample in part] for part in (second, third)]
    yield flat("runs that are not finished", *waiting, 2.0, 100)
    steps = samples[-1]["tables"]["agent_step_content"]["inserted"] / samples[-1]["at_s"]
    yield Line("steps a second", steps > 0, f"{steps:.1f}")
    if facts:
        done = facts["by_status"].get("succeeded", 0)
        yield Line("runs that succeeded", done == facts["runs"], f"{done} of {facts['runs']}")
        yield Line("calls without a success", facts["calls_not_succeeded"] == 0, str(facts["calls_not_succeeded"]))


def judge(samples, facts):
    second, third = thirds(samples)
    if len(second) < 3:
        return [Line("samples", False, f"only {len(samples)}: too few to say anything")]
    return [
        *processes(second, third),
        *kept_tables(samples, second, third),
        *passing(second, third),
        *fullness(facts),
        *work(samples, second, third, facts),
    ]
