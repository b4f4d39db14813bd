"""Fixtures of the system tests: one Postgres cluster for all, a stack for each test.

    stack      a stack of the test's own, not started yet
    running    the stack of the module, which runs; model and tools are new for each test

Tests of recovery spend most of their time waiting for somebody to be missed. Those with the marker
`beside` wait together: when the first one of a module is due, all of the module run in threads, each
with a stack of its own, and every test then reports what became of it.
"""

import os
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import infra
from aimock import Aimock
from cluster import Cluster
from stack import Stack, build_dir


BESIDE = int(os.environ.get("PAWL_TEST_BESIDE", "6"))


def pytest_configure(config):
    config.addinivalue_line("markers", "sql: talks to Postgres in every statement; runs on the ASan build too")
    config.addinivalue_line("markers", "beside: may run at the same time as others of its module")


def pytest_terminal_summary(terminalreporter):
    if infra.rows:
        infra.write_table(build_dir())
        terminalreporter.section("infrastructure faults")
        terminalreporter.write_line("\n".join(infra.table()))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, "report_" + report.when, report)
    used = getattr(item, "funcargs", {})
    stack = used.get("stack") or used.get("running")
    if report.when == "call" and report.failed:
        logs = stack.tails() if stack is not None else getattr(item, "tails", "")
        report.sections.append(("logs of the processes", logs))


@pytest.fixture(scope="session")
def scratch():
    """Short, because sockets live in it; kept when PAWL_TEST_KEEP is set."""
    path = Path(tempfile.mkdtemp(prefix="pawl-sys-", dir=os.environ.get("PAWL_TEST_TMP", "/tmp")))
    path.chmod(0o755)
    yield path
    if not os.environ.get("PAWL_TEST_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(scratch):
    directory = scratch / "pg"
    directory.mkdir()
    cluster = Cluster(directory)
    cluster.create()
    cluster.template(build_dir() / "pawl")
    yield cluster
    cluster.stop("immediate")


def make_stack(cluster, scratch, name, kind=Stack):
    name = re.sub(r"[^a-z0-9]+", "-", name.removeprefix("test_").lower()).strip("-")[:60]
    directory = scratch / name
    directory.mkdir()
    return kind(cluster, directory, name)


def passed(request):
    report = getattr(request.node, "report_call", None)
    return report is not None and report.passed


def end(stack):
    sick = stack.down()
    assert not sick, f"a process was not well: {sick}"


def run_beside(item, cluster, scratch):
    """One test in a thread: what it raised, or None, and the logs if so."""
    stack = make_stack(cluster, scratch, item.name)
    failure = None
    try:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        item.obj(stack, **parameters)
        stack.check()
    except BaseException as raised:  # pytest's own failures are no Exceptions
        failure = raised
        item.tails = stack.tails()
    try:
        end(stack)
    except AssertionError as raised:
        failure = failure or raised
    return failure


@pytest.fixture(scope="module")
def beside(request, cluster, scratch):
    """What became of each test with the marker, by its id."""
    items = [item for item in request.session.items
             if item.module is request.module and item.get_closest_marker("beside")]
    with ThreadPoolExecutor(getattr(request.module, "BESIDE", BESIDE)) as pool:
        failures = pool.map(lambda item: run_beside(item, cluster, scratch), items)
        return {item.nodeid: failure for item, failure in zip(items, failures)}


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not pyfuncitem.get_closest_marker("beside"):
        return None
    failure = pyfuncitem.funcargs["stack"][pyfuncitem.nodeid]
    pyfuncitem.funcargs["stack"] = None
    if failure is not None:
        raise failure
    return True


@pytest.fixture
def stack(request, cluster, scratch):
    """A stack of the test's own, whose processes are not started yet."""
    if request.node.get_closest_marker("beside"):
        yield request.getfixturevalue("beside")
        return
    stack = make_stack(cluster, scratch, request.node.name)
    yield stack
    if passed(request):
        stack.check()
    end(stack)


@pytest.fixture
def aimock(stack):
    """A counterpart that is not ours, not started yet."""
    aimock = Aimock(stack.directory)
    yield aimock
    aimock.stop()


@pytest.fixture
def make_own(request, scratch):
    """For tests that ruin their cluster: make_own(cluster class, ...) is a stack on one of its own."""
    made = []

    def make(kind=Cluster, stack_kind=Stack, **options):
        name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
        directory = scratch / f"pg-{name}"
        directory.mkdir()
        cluster = kind(directory, **options)
        cluster.create()
        made.append(cluster)
        cluster.template(build_dir() / "pawl")
        stack = make_stack(cluster, scratch, request.node.name, stack_kind)
        made.append(stack)
        request.node.funcargs["stack"] = stack
        return stack

    yield make
    for thing in reversed(made):
        if isinstance(thing, Stack):
            end(thing)
        else:
            thing.stop("immediate")


@pytest.fixture(scope="module")
def shared_stack(request, cluster, scratch):
    """One planner and one executor for all tests of a module that leave them alone."""
    stack = make_stack(cluster, scratch, request.module.__name__)
    stack.up()
    stack.wait_joined("planner-1", "executor-1")
    yield stack
    end(stack)


@pytest.fixture
def running(request, shared_stack):
    """The module's stack: its processes run; model and tools are new."""
    shared_stack.renew()
    yield shared_stack
    if passed(request):
        shared_stack.check()
