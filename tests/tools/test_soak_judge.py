"""The judge of bench/soak finds what grows, and its pictures are drawn."""

import xml.etree.ElementTree as ElementTree

import pytest
from soak_pictures import draw_all
from soak_verdict import KEPT, PASSING, QUEUES, judge

COUNT = 90
FACTS = {"runs": 10, "by_status": {"succeeded": 10}, "calls_not_succeeded": 0,
         "bloat": {"leaf_density": {"agent_runs_pkey": 90.0}, "dead_and_free": {"agent_actions_1": [1.0, 5.0]}}}


def table(n, kept):
    rows = 300 * n if kept else 10
    return {"heap": 500 * rows + 8192, "indexes": 100 * rows, "toast": 0, "live": rows, "dead": rows // 10, "inserted": rows,
            "updated": 2 * rows, "updated_hot": rows, "deleted": 0, "vacuums": 0}


def sample(n):
    return {
        "at_s": 10.0 * n,
        "processes": {name: {"rss_mb": 20.0, "fds": 40, "cpu_us": 100000 * n} for name in ("planner-1", "executor-1", "postgres")},
        "tables": {name: table(n, name in KEPT) for name in KEPT + QUEUES},
        "indexes": dict.fromkeys(PASSING, 40960),
        "lag": n % 3,
        "unfinished": 5,
    }


def samples():
    return [sample(n) for n in range(COUNT)]


def grow(found, path, by):
    """The value at `path` grows in the last third."""
    for n, one in enumerate(found):
        place = one
        for name in path[:-1]:
            place = place[name]
        if n >= 2 * COUNT // 3:
            place[path[-1]] += by * (n - 2 * COUNT // 3)


def broken(found, facts=FACTS):
    return [line.what for line in judge(found, facts) if not line.held]


def test_what_is_flat_is_held():
    assert broken(samples()) == []


@pytest.mark.parametrize("path, by, what", [
    (("processes", "planner-1", "rss_mb"), 0.2, "memory of planner-1"),
    (("processes", "executor-1", "fds"), 1, "descriptors of executor-1"),
    (("tables", "agent_runs", "heap"), 60000, "agent_runs: heap"),
    (("tables", "agent_actions", "indexes"), 60000, "agent_actions: indexes"),
    (("tables", "announcements", "heap"), 1 << 16, "table announcements"),
    (("tables", "agent_step_content", "dead"), 2000, "agent_step_content: dead rows"),
    (("indexes", "agent_runs_due"), 1 << 16, "index agent_runs_due"),
    (("lag",), 100, "lag"),
    (("unfinished",), 20, "runs that are not finished"),
])
def test_what_grows_is_found(path, by, what):
    found = samples()
    grow(found, path, by)
    assert what in broken(found)


def test_what_is_bloated_or_failed_at_the_end_is_found():
    facts = {**FACTS, "by_status": {"succeeded": 9, "failed": 1}, "calls_not_succeeded": 1,
             "bloat": {"leaf_density": {"agent_runs_pkey": 30.0}, "dead_and_free": {"agent_actions_1": [25.0, 5.0]}}}
    assert broken(samples(), facts) == ["leaves of agent_runs_pkey", "pages of agent_actions_1", "runs that succeeded", "calls without a success"]


def test_too_few_samples_say_nothing():
    assert broken(samples()[:5]) == ["samples"]


def test_the_pictures_are_drawn(tmp_path):
    draw_all(samples(), tmp_path)
    drawn = sorted(tmp_path.glob("*.svg"))
    assert len(drawn) == 9
    for path in drawn:
        tree = ElementTree.parse(path)
        lines = [e for e in tree.iter() if e.tag.endswith("polyline")]
        assert lines, path
        for line in lines:
            points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
            assert all(0 <= x <= 760 and 0 <= y <= 260 for x, y in points), path
