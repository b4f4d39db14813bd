"""bench/chaos, as users run it: a short one on the embedded broker. The long one is run by hand."""

import os
import re
import subprocess

from stack import ROOT, build_dir


def chaos(*words):
    env = {name: value for name, value in os.environ.items() if name != "PAWL_TEST_KAFKA"}
    return subprocess.run([ROOT / "bench/chaos", "--build", build_dir(), *map(str, words)], env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=400)


def count(text, what):
    """The first number behind these words in what it printed."""
    return int(re.search(rf"{re.escape(what)} +(\d+)", text).group(1))


def test_two_of_each_kind_killed_and_stopped_at_random():
    done = chaos("--planners", 2, "--executors", 2, "--faults", 20, "--every", 1.1, "--steps", 3, "--calls", 3,
                 "--in-flight", 20, "--seed", 2026)
    assert done.returncode == 0, done.stdout
    assert "held: P1 to P7" in done.stdout
    assert count(done.stdout, "kill") >= 12, done.stdout
    assert count(done.stdout, "accepted") >= 20
    # Kills that met nobody at work would prove nothing.
    met = re.findall(r"(?:planner|executor)_(?:after|during)_\w+", done.stdout)
    at_work = sum(int(line.split()[-2]) for line in done.stdout.splitlines() if line.split()[-1:] and line.split()[-1] in met)
    assert at_work >= 5, done.stdout


def test_what_cannot_run_says_so():
    done = chaos("--dsn", "host=/nowhere dbname=none", "--runs", 1)
    assert done.returncode == 2, done.stdout
    assert "chaos: " in done.stdout


def test_a_seed_lists_the_same_faults():
    lists = [chaos("--seed", 9, "--list-faults", 50).stdout for _ in range(2)]
    assert lists[0] == lists[1]
    assert len(lists[0].splitlines()) == 50
