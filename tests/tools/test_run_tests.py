"""The counting of ./dev test: what crashes, hangs or breaks off must never count as passed."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("run_tests", ROOT / "tools/run_tests.py")
run_tests = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(run_tests)


@pytest.fixture
def tally():
    return run_tests.Tally()


def counts(tally):
    return tally.passed, len(tally.failures), len(tally.skips)


def ctest_case(status, output, child=""):
    text = output.replace("<", "&lt;")
    return ElementTree.fromstring(
        f'<testcase name="unit/test_x" status="{status}">{child}<system-out>{text}</system-out></testcase>'
    )


CMOCKA = "[==========] Running 3 test(s).\n"
ONE_OK = "[ RUN      ] a\n[       OK ] a\n"


def test_each_cmocka_test_counts(tally):
    output = CMOCKA + ONE_OK + "[ RUN      ] b\n[       OK ] b\n[==========] 2 test(s) run.\n"
    run_tests.count_program(ctest_case("run", output), "unit", tally)
    assert counts(tally) == (2, 0, 0)


def test_a_failed_cmocka_test_is_named_by_its_line(tally):
    output = (
        CMOCKA
        + ONE_OK
        + "[ RUN      ] b\n[  ERROR   ] --- 1 != 2\n[  FAILED  ] b\n"
        + "[  PASSED  ] 1 test(s).\n[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] b\n"
    )
    run_tests.count_program(ctest_case("fail", output, "<failure/>"), "unit", tally)
    assert counts(tally) == (1, 1, 0)
    assert tally.failures[0][1] == "1 != 2"


def test_a_crash_in_the_middle_is_a_failure(tally):
    output = CMOCKA + ONE_OK + "[ RUN      ] b\n"
    run_tests.count_program(ctest_case("fail", output, "<failure/>"), "unit", tally)
    assert counts(tally) == (1, 1, 0)


def test_a_crash_after_the_last_test_is_a_failure(tally):
    output = CMOCKA + ONE_OK + "ERROR: LeakSanitizer: detected memory leaks\n"
    run_tests.count_program(ctest_case("fail", output, "<failure/>"), "unit", tally)
    assert counts(tally) == (1, 1, 0)
    assert "LeakSanitizer" in tally.failures[0][1]


def test_skipped_cmocka_tests_are_told(tally):
    output = CMOCKA + ONE_OK + "[ RUN      ] b\nSKIP b: no such kernel\n[  SKIPPED ] b\n[  SKIPPED ] 1 test(s), listed below:\n[  SKIPPED ] b\n"
    run_tests.count_program(ctest_case("run", output), "unit", tally)
    assert counts(tally) == (1, 0, 1)
    assert tally.skips[0] == ("unit: unit/test_x: b", "no such kernel")


def test_programs_without_cmocka_count_once(tally):
    run_tests.count_program(ctest_case("run", "fine"), "unit", tally)
    run_tests.count_program(ctest_case("fail", "not fine", "<failure/>"), "unit", tally)
    assert counts(tally) == (1, 1, 0)


def test_a_program_that_was_not_built_is_a_failure(tally):
    case = ctest_case("notrun", "Unable to find executable", '<skipped message="Unable to find it"/>')
    run_tests.count_program(case, "unit", tally)
    assert counts(tally) == (0, 1, 0)


def test_a_program_that_says_skip_is_skipped(tally):
    case = ctest_case("notrun", "there is no such thing here", '<skipped message="SKIP_RETURN_CODE=77"/>')
    run_tests.count_program(case, "store", tally)
    assert counts(tally) == (0, 0, 1)


PROVE_OK = "a.sql .. ok\nb.sql .. ok\nAll tests successful.\nFiles=2, Tests=12,  1 wallclock secs\nResult: PASS\n"


def test_pg_prove_in_order(tally):
    run_tests.count_pg_prove(PROVE_OK, 0, "sql", tally)
    assert counts(tally) == (12, 0, 0)


def test_pg_prove_with_failures_and_a_bad_plan(tally):
    output = """a.sql .. Failed 2/5 subtests
b.sql .. Dubious, test returned 3
Test Summary Report
-------------------
a.sql (Wstat: 0 Tests: 5 Failed: 2)
  Failed tests:  2, 4
b.sql (Wstat: 768 (exited 3) Tests: 4 Failed: 0)
  Non-zero exit status: 3
  Parse errors: Bad plan.  You planned 10 tests but ran 4.
c.sql (Wstat: 512 (exited 2) Tests: 0 Failed: 0)
  Non-zero exit status: 2
  Parse errors: No plan found in TAP output
Files=3, Tests=9,  0 wallclock secs
Result: FAIL
"""
    run_tests.count_pg_prove(output, 1, "sql", tally)
    assert counts(tally) == (7, 2 + 6 + 1, 0)


def test_tap_after_pg_prove_counts_too(tally):
    output = PROVE_OK + "1..2\nok 1 - no deadlock\nnot ok 2 - no claim twice\n"
    run_tests.count_pg_prove(output, 1, "sql", tally)
    assert counts(tally) == (13, 1, 0)


@pytest.mark.parametrize("output, code", [("", 1), ("initdb: error", 1), (PROVE_OK, 1), ("", 0), (PROVE_OK, None)])
def test_a_runner_that_fails_is_a_failure(tally, output, code):
    run_tests.count_pg_prove(output, code, "sql", tally)
    assert len(tally.failures) == 1


def test_a_missing_or_torn_result_file_is_a_failure(tally, tmp_path):
    assert run_tests.read_junit(tmp_path / "none.xml", "system", 139, tally) == []
    torn = tmp_path / "torn.xml"
    torn.write_text("<testsuites><testsuite><testcase ")
    assert run_tests.read_junit(torn, "system", None, tally) == []
    assert counts(tally) == (0, 2, 0)
    assert "139" in tally.failures[0][1] and "hung" in tally.failures[1][1]


def test_pytest_cases(tally):
    for inner in ("", '<failure message="boom"/>', '<error message="no fixture"/>', '<skipped message="no java"/>'):
        case = ElementTree.fromstring(f'<testcase classname="c" name="n">{inner}</testcase>')
        run_tests.count_case(case, "system", tally)
    assert counts(tally) == (1, 2, 1)


def test_what_hangs_is_killed_with_its_children(tmp_path):
    mark = tmp_path / "alive"
    script = f"(sleep 3; touch {mark}) & sleep 60"
    code, output = run_tests.run(["bash", "-c", script], 1, capture=True)
    assert code is None and output == ""
    run_tests.time.sleep(3)
    assert not mark.exists()


@pytest.mark.parametrize(
    "passed, failures, skips, line, code",
    [
        (3, 0, 0, "3 passed, 0 failed", 0),
        (3, 2, 0, "3 passed, 2 failed", 1),
        (3, 0, 1, "3 passed, 0 failed, 1 skipped", 0),
        (0, 0, 0, "0 passed, 0 failed", 1),
    ],
)
def test_the_closing_line(tally, capsys, passed, failures, skips, line, code):
    tally.passed = passed
    for _ in range(failures):
        tally.fail("f", "why")
    for _ in range(skips):
        tally.skip("s", "")
    assert tally.close() == code
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == line
    assert len([text for text in printed if text.startswith("FAILED   f: why")]) == failures
    assert len([text for text in printed if text.startswith("SKIPPED  s: no reason")]) == skips
