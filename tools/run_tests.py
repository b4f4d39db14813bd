#!/usr/bin/python3
"""Runs every test suite, and counts. Called by ./dev test.

Suites, in this order:

    unit, store   C programs on cmocka, by ctest (store: on a throwaway Postgres), the model of the
                  protocol (schema/model; larger worlds with --long), and the fuzzers on what is kept of
                  their corpus
    sql           pgTAP, by tests/sql/run
    tools         the checks of ./dev lint and this counting, by pytest in tests/tools
    system        real processes, by pytest in tests/system (and tests/store, if it has Python)
    asan          the C programs, and of the system tests what is marked `sql`, built with ASan and
                  UBSan; with --asan or --long all system tests
    kafka         with --long: the system tests, and the C programs about Kafka, on a real Apache Kafka
    tsan          with --long: the C programs and the system tests of the daemons, built with
                  ThreadSanitizer
    fuzz          with --long: each fuzzer for FUZZ_SECONDS, from its corpus

Every single test counts: each cmocka test, each pgTAP assertion, each pytest case. A program that
crashes, hangs or cannot be started counts as failed. What was skipped is listed with its reason.
The last line is "N passed, N failed", with ", N skipped" if any; the exit code says the same.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Seconds that a suite may take, all its tests together, before it counts as hanging.
LIMIT_CTEST = 600
LIMIT_CTEST_LONG = 3600
LIMIT_SQL = 420
LIMIT_PYTEST = 1500
LIMIT_PYTEST_LONG = 5400
FUZZ_SECONDS = 60

SYSTEM = ["tests/store", "tests/system"]
# What is about planner and executor, and their threads; the rest is the command line's.
SYSTEM_TSAN = [f"tests/system/test_{name}.py" for name in
               ("deploy", "executor_calls", "kill_table", "planner", "recovery_calls", "recovery_world", "requests")]


class Tally:
    """What all suites found so far."""

    def __init__(self):
        self.passed = 0
        self.failures = []  # (name, first words of why)
        self.skips = []

    def fail(self, name, why=""):
        self.failures.append((name, why.strip()))

    def skip(self, name, why):
        self.skips.append((name, why.strip() or "no reason was given"))

    def close(self):
        for name, why in self.failures:
            print(f"FAILED   {name}" + (f": {why}" if why else ""))
        for name, why in self.skips:
            print(f"SKIPPED  {name}: {why}")
        line = f"{self.passed} passed, {len(self.failures)} failed"
        if self.skips:
            line += f", {len(self.skips)} skipped"
        print(line, flush=True)
        return 1 if self.failures or self.passed == 0 else 0


def run(command, limit_seconds, env=None, capture=False):
    """Runs a command in its own process group; (exit code, output). None: it hung and was killed."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.STDOUT if capture else None,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit_seconds)
        return process.returncode, output or ""
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as stop:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            output, _ = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        if isinstance(stop, KeyboardInterrupt):
            raise
        return None, output or ""


def heading(text):
    print(f"--- {text}", flush=True)


def fresh(path):
    """The path, without the result of an earlier run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def read_junit(path, suite, code, tally):
    """The test cases of a JUnit file; [] and a failure when there is none to read."""
    try:
        return list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        how = "hung" if code is None else f"exit code {code}"
        tally.fail(suite, f"the runner left no result ({how}): {error}")
        return []


# --- C programs ---------------------------------------------------------------------------------


def first_failure(output):
    """The line of cmocka's output that says what failed, for the summary."""
    found = re.search(r"\[  ERROR   \] --- (.*)|(ERROR: \w+Sanitizer.*)|(.*runtime error.*)", output)
    return next((group for group in found.groups() if group), "")[:200] if found else ""


def count_not_run(case, name, output, tally):
    """A program that ctest did not start, or that left with the exit code for "skip me" (77)."""
    skipped = case.find("skipped")
    message = skipped.get("message", "") if skipped is not None else ""
    last_words = (output.strip().splitlines() or [message])[-1]
    if "SKIP" in message:
        tally.skip(name, last_words)
    else:
        tally.fail(name, "not run: " + last_words)


def count_program(case, suite, tally):
    """One test program of ctest: as many tests as cmocka started in it, or one."""
    name = f"{suite}: {case.get('name')}"
    output = case.findtext("system-out") or ""
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        count_not_run(case, name, output, tally)
        return

    bad = case.get("status") == "fail" or case.find("failure") is not None
    started = re.findall(r"\[ RUN      \] (\S+)", output) or [case.get("name")]
    passed = len(re.findall(r"\[       OK \]", output))
    skipped = sorted(set(re.findall(r"\[  SKIPPED \] (\S+)$", output, re.M)))
    if "[ RUN      ]" not in output and not bad:
        passed = 1  # not a program of cmocka, but one that is content
    tally.passed += passed
    for test in skipped:
        reason = re.search(rf"SKIP {test}: (.*)", output)
        tally.skip(f"{name}: {test}", reason.group(1) if reason else "")
    for _ in range(max(len(started) - passed - len(skipped), int(bad))):
        tally.fail(name, first_failure(output) or f"ended in {started[-1]}")


def run_ctest(build, suite, pattern, tally):
    """All programs that the build knows, or those that match the pattern."""
    heading(f"{suite}: C programs")
    junit = fresh(build / "results" / "ctest.xml").resolve()
    command = ["ctest", "--test-dir", str(build), "--output-junit", str(junit)]
    command += ["--output-on-failure", "--test-output-size-passed", "1000000"]
    command += ["--test-output-size-failed", "1000000", "--no-tests=ignore"]
    command += ["-j", str(os.cpu_count() or 1)]
    if pattern:
        command += ["-R", pattern]
    limit = LIMIT_CTEST_LONG if os.environ.get("PAWL_TEST_LONG") else LIMIT_CTEST
    code, output = run(command, limit, capture=True)
    (junit.parent / "ctest.log").write_text(output)
    if code != 0:
        print(output)
    cases = read_junit(junit, suite, code, tally)
    failures = len(tally.failures)
    for case in cases:
        count_program(case, suite, tally)
    if code != 0 and cases and len(tally.failures) == failures:
        tally.fail(suite, f"ctest ended with {'a time-out' if code is None else code}")
    print(f"{len(cases)} programs")


# --- SQL ----------------------------------------------------------------------------------------


def count_sql_file(name, wstat, failed, rest, tally):
    """One file of pg_prove's report: its failed tests, those not run, or that it broke off."""
    plan = re.search(r"You planned (\d+) tests? but ran (\d+)", rest)
    missing = max(0, int(plan.group(1)) - int(plan.group(2))) if plan else 0
    which = re.search(r"Failed tests?:\s+(.*)", rest)
    for _ in range(failed):
        tally.fail(name, f"tests {which.group(1)}" if which else "")
    for _ in range(missing):
        tally.fail(name, "planned and not run")
    if failed + missing == 0 and (wstat != "0" or "Parse errors" in rest):
        tally.fail(name, rest.strip().split("\n")[0])


def count_pg_prove(output, code, suite, tally):
    """pg_prove's summary: "Files=F, Tests=T", and a report of each file that is not all right."""
    total = sum(int(n) for n in re.findall(r"^Files=\d+, Tests=(\d+)", output, re.M))
    failures = len(tally.failures)
    report = output.partition("Test Summary Report")[2]
    for found in re.finditer(r"^(\S+)\s+\(Wstat: (.*?) Tests: \d+ Failed: (\d+)\)$", report, re.M):
        name, wstat, failed = found.groups()
        rest = report[found.end() :].split("(Wstat:")[0]
        count_sql_file(f"{suite}: {name}", wstat, int(failed), rest, tally)
        total -= int(failed)
    tally.passed += max(0, total)
    for name, why in re.findall(r"^(\S+) \.+ skipped: (.*)$", output, re.M):
        tally.skip(f"{suite}: {name}", why)
    # Programs that the runner starts after pg_prove speak TAP themselves.
    for bad, name in re.findall(r"^(not )?ok \d+(?: - (.*))?$", output.rpartition("Result:")[2], re.M):
        if bad:
            tally.fail(f"{suite}: {name}")
        else:
            tally.passed += 1
    if len(tally.failures) == failures and (code != 0 or "Files=" not in output):
        how = "hung" if code is None else f"exit code {code}"
        tally.fail(suite, f"the runner itself failed: {how}")


def run_sql(build, suite, pattern, tally):
    runner = ROOT / "tests/sql/run"
    if not runner.exists():
        tally.skip(suite, "there is no tests/sql/run")
        return
    files = [str(path) for path in sorted(runner.parent.glob("*.sql"))]
    if pattern:
        files = [path for path in files if re.search(pattern, "sql/" + Path(path).stem)]
        if not files:
            return
    heading(f"{suite}: pgTAP")
    env = {"PAWL_BUILD_DIR": str(build.resolve())}
    code, output = run([str(runner)] + (files if pattern else []), LIMIT_SQL, env, capture=True)
    print(output.rstrip())
    count_pg_prove(output, code, suite, tally)


# --- Python -------------------------------------------------------------------------------------


def count_case(case, suite, tally):
    name = f"{suite}: {case.get('classname')}::{case.get('name')}"
    bad = case.find("failure")
    bad = bad if bad is not None else case.find("error")
    skipped = case.find("skipped")
    if bad is not None:
        tally.fail(name, (bad.get("message") or "").split("\n")[0][:200])
    elif skipped is not None:
        tally.skip(name, skipped.get("message") or "")
    else:
        tally.passed += 1


def run_pytest(build, suite, folders, options, tally, marker=None, more=None):
    folders = [folder for folder in folders if (ROOT / folder).is_file() or list(ROOT.glob(f"{folder}/test_*.py"))]
    if not folders:
        tally.skip(suite, "no test_*.py is there")
        return
    heading(f"{suite}: pytest {' '.join(folders)}")
    junit = fresh(build / "results" / f"pytest-{suite}.xml")
    command = ["/usr/bin/python3", "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider"]
    command += [f"--junitxml={junit.resolve()}", *folders]
    if options.filter:
        command += ["-k", options.filter]
    if marker:
        command += ["-m", marker]
    env = {"PAWL_BUILD_DIR": str(build.resolve()), "PYTHONDONTWRITEBYTECODE": "1", **(more or {})}
    limit = LIMIT_PYTEST_LONG if options.long else LIMIT_PYTEST
    code, _ = run(command, limit, env)
    if code == 5:  # pytest's word for: nothing selected
        return
    failures = len(tally.failures)
    for case in read_junit(junit, suite, code, tally):
        count_case(case, suite, tally)
    if code != 0 and len(tally.failures) == failures:
        tally.fail(suite, f"pytest ended with {'a time-out' if code is None else code}")


# --- what takes longer ----------------------------------------------------------------------------


def run_on_kafka(build, options, tally):
    """The same tests on a real Apache Kafka, which is fetched when it is not there yet."""
    script, where = ROOT / "tests/kafka/kafka-local", build.resolve() / "kafka-local"
    heading("kafka: a real Apache Kafka")
    code, output = run([str(script), "start", "-c", "-d", str(where)], 600, {}, capture=True)
    if code != 0:
        tally.skip("kafka", f"no Apache Kafka could be started: {output.strip().splitlines()[-1:]}")
        return
    address = {"PAWL_TEST_KAFKA": output.partition("bootstrap.servers=")[2].split()[0]}
    try:
        os.environ.update(address)
        run_ctest(build, "kafka", options.filter or "consumer|producer|lag", tally)
        run_pytest(build, "kafka-system", ["tests/system"], options, tally, more=address)
    finally:
        os.environ.pop("PAWL_TEST_KAFKA", None)
        run([str(script), "stop", "-d", str(where)], 60, {}, capture=True)


def run_fuzzers(build, options, tally):
    fuzzers = sorted((build / "tests/fuzz").glob("fuzz_*"))
    if not fuzzers:
        tally.fail("fuzz", f"there is no fuzzer in {build}/tests/fuzz")
    for fuzzer in fuzzers:
        name = fuzzer.name.removeprefix("fuzz_")
        if not os.access(fuzzer, os.X_OK) or fuzzer.is_dir() or not re.search(options.filter or "", name):
            continue
        heading(f"fuzz: {name}, {FUZZ_SECONDS} s")
        corpus = build / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        seeds, words = ROOT / "tests/fuzz/corpus" / name, ROOT / "tests/fuzz/dictionary" / f"{name}.dict"
        command = [str(fuzzer), f"-max_total_time={FUZZ_SECONDS}", "-print_final_stats=1", f"-dict={words}",
                   str(corpus), str(seeds)]
        code, output = run(command, FUZZ_SECONDS + 120, {}, capture=True)
        print("\n".join(line for line in output.splitlines() if "stat::" in line))
        if code == 0:
            tally.passed += 1
        else:
            tally.fail(f"fuzz {name}", output.strip().splitlines()[-1] if output.strip() else "time-out")


def run_long(options, dev, tally):
    if dev:
        run_on_kafka(dev, options, tally)
    tsan = build_preset(options.build_root, "tsan", tally)
    if tsan:
        run_ctest(tsan, "tsan", options.filter, tally)
        run_pytest(tsan, "tsan-system", SYSTEM_TSAN, options, tally, more={"PAWL_TEST_PATIENCE": "180"})
    fuzz = build_preset(options.build_root, "fuzz", tally)
    if fuzz:
        run_fuzzers(fuzz, options, tally)


# --- all ----------------------------------------------------------------------------------------


def build_preset(root, preset, tally):
    """The build directory, or None (and a failure) when it does not build."""
    heading(f"building {preset}")
    code, output = run(["./dev", "build", preset], 1500, {"PAWL_BUILD_ROOT": str(root)}, capture=True)
    if code == 0:
        return root / preset
    print(output[-8000:])
    tally.fail(f"build {preset}", "it does not build")
    return None


def main():
    parser = argparse.ArgumentParser(prog="./dev test", description=__doc__.split("\n\n")[0])
    parser.add_argument("--build-root", type=Path, default=ROOT / "build", help=argparse.SUPPRESS)
    parser.add_argument("--long", action="store_true", help="also what takes minutes, and a real Kafka")
    parser.add_argument("--asan", action="store_true", help="also the system tests on the ASan build")
    parser.add_argument("filter", nargs="?", help="only tests whose name matches")
    options = parser.parse_args()
    if options.long:
        os.environ["PAWL_TEST_LONG"] = "1"
    if not shutil.which("ctest"):
        sys.exit("run ./dev test, which installs what is missing")

    started = time.monotonic()
    tally = Tally()
    dev = build_preset(options.build_root, "dev", tally)
    if dev:
        run_ctest(dev, "unit", options.filter, tally)
        run_sql(dev, "sql", options.filter, tally)
        run_pytest(dev, "tools", ["tests/tools"], options, tally)
        run_pytest(dev, "system", SYSTEM, options, tally)
    asan = build_preset(options.build_root, "asan", tally)
    if asan:
        run_ctest(asan, "asan", options.filter, tally)
        run_pytest(asan, "asan-system", SYSTEM, options, tally, marker=None if options.asan or options.long else "sql")
    if options.long:
        run_long(options, dev, tally)
    heading(f"{time.monotonic() - started:.0f} s")
    sys.exit(tally.close())


if __name__ == "__main__":
    main()
