"""The kill table: at every numbered fault point a process dies, kill -9, exactly there; then it is
replaced by another process of its kind that lives already (`peer`), or started again (`restart`), and
the runs end as if nothing had happened.

The points are read from common/fault.h: a new one is tested without a change here, and fails when no
scene (kill_scenes.py) reaches it. tests/system/kill_table prints what came of each as a table.
"""

import re
import subprocess

import pytest

from kill_judge import Kill, write_row
from kill_scenes import SCENES, Plain
from stack import ROOT, build_dir

BESIDE = 16  # they mostly wait
WAYS = ("peer", "restart")
PREFIXES = {"planner": ["planner"], "executor": ["executor"], "daemon": ["planner", "executor"]}


def listed():
    """Name and sentence of each point, from the source."""
    text = (ROOT / "common/fault.h").read_text()
    pairs = re.findall(r'^ *X\(([A-Z_]+), +"([^"]*)"\)', text, re.M)
    return {name.lower(): sentence for name, sentence in pairs}


def rows():
    for point in listed():
        for kind in PREFIXES[point.split("_")[0]]:
            for scene in SCENES.get(point, [Plain]):
                for way in WAYS:
                    yield kind, point, way, scene


def name_of(value):
    return value.__name__.lower() if isinstance(value, type) else value


@pytest.mark.beside
@pytest.mark.parametrize("kind,point,way,scene", list(rows()), ids=name_of)
def test_death_at(stack, kind, point, way, scene):
    kill = Kill(stack, kind, point, way, scene())
    write_row(kill, kill.play())


def test_the_list_is_what_the_programs_have():
    assert len(listed()) >= 31
    for program in ("planner", "executor"):
        out = subprocess.run([build_dir() / program, "--fault-points"], stdout=subprocess.PIPE, text=True, check=True)
        assert dict(line.split("\t") for line in out.stdout.splitlines()) == listed()


def test_each_point_is_in_the_code():
    places = {}
    for folder in ("common", "planner", "executor"):
        for path in (ROOT / folder).glob("*.c"):
            for name in re.findall(r"FAULT_POINT\((\w+)\)", path.read_text()):
                places.setdefault(name.lower(), set()).add(folder)
    allowed = {"planner": {"planner"}, "executor": {"executor"}, "daemon": {"common"}}
    assert places == {point: allowed[point.split("_")[0]] for point in listed()}


def test_no_scene_is_left_over():
    assert set(SCENES) <= set(listed())
