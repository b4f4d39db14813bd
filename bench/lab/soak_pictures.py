"""The pictures of a soak: one chart a file."""

from svg import Chart

MB, KB = 1 << 20, 1 << 10
KEPT = ("agent_runs", "agent_run_inputs", "agent_step_content", "agent_actions", "requests")
PASSING = ("agent_runs_due", "agent_runs_live", "agent_actions_claimed")


def over_time(samples, value):
    points = [(sample["at_s"] / 60, value(sample)) for sample in samples]
    return [(x, y) for x, y in points if y is not None]


def by_process(samples, value):
    return {name: over_time(samples, lambda s, n=name: value(s["processes"][n])) for name in samples[0]["processes"]}


def rates(samples, value):
    """What was counted between one sample and the next, for a second of time."""
    points = []
    for a, b in zip(samples, samples[1:]):
        points.append((b["at_s"] / 60, (value(b) - value(a)) / (b["at_s"] - a["at_s"])))
    return points


def by_table(samples, column, unit):
    return {name: over_time(samples, lambda s, n=name: s["tables"][n][column] / unit) for name in KEPT if name in samples[0]["tables"]}


def cpu(samples):
    return {name: rates(samples, lambda s, n=name: s["processes"][n]["cpu_us"] / 1e4) for name in samples[0]["processes"]}


def charts(samples):
    workers = {name: points for name, points in by_process(samples, lambda p: p["rss_mb"]).items() if name != "postgres"}
    yield "memory", Chart("Resident memory of planners and executors", "MB", workers)
    yield "descriptors", Chart("Open descriptors", "", {k: v for k, v in by_process(samples, lambda p: p["fds"]).items() if k != "postgres"})
    yield "cpu", Chart("CPU", "% of a core", cpu(samples))
    yield "steps", Chart("Work done", "a second", {
        "steps": rates(samples, lambda s: s["tables"]["agent_step_content"]["inserted"]),
        "tool calls": rates(samples, lambda s: s["tables"]["agent_actions"]["inserted"]),
        "runs": rates(samples, lambda s: s["tables"]["agent_runs"]["inserted"])})
    yield "lag", Chart("Lag, and runs that are not finished", "", {
        "records not looked at": over_time(samples, lambda s: s["lag"]),
        "runs not finished": over_time(samples, lambda s: s["unfinished"])})
    yield "tables", Chart("Tables whose rows stay: size of the rows", "MB", by_table(samples, "heap", MB))
    yield "indexes", Chart("The same tables: size of their indexes", "MB", by_table(samples, "indexes", MB))
    dead = by_table(samples, "dead", 1)
    yield "dead", Chart("Dead rows, with stock autovacuum", "", {name: points for name, points in dead.items() if any(y for _, y in points)})
    yield "passing", Chart("Indexes of what is only live for a while", "KB", {
        name: over_time(samples, lambda s, n=name: s["indexes"].get(n, 0) / KB) for name in PASSING})


def draw_all(samples, directory):
    for name, chart in charts(samples):
        (directory / f"{name}.svg").write_text(chart.draw(), encoding="utf-8")
