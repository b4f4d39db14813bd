"""Fixtures of the system tests: one Postgres cluster for all, a stack for each test."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from cluster import Cluster
from stack import Stack, build_dir


def pytest_configure(config):
    config.addinivalue_line("markers", "sql: talks to Postgres in every statement; runs on the ASan build too")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, "report_" + report.when, report)
    used = getattr(item, "funcargs", {})
    stack = used.get("stack") or used.get("running")
    if report.when == "call" and report.failed and stack is not None:
        report.sections.append(("logs of the processes", stack.tails()))


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

    def migrate(dsn):
        done = subprocess.run([build_dir() / "pawl", "migrate", "up"], env={**os.environ, "PAWL_POSTGRES_DSN": dsn},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout

    cluster.template(migrate)
    yield cluster
    cluster.stop("immediate")


def make_stack(cluster, scratch, name):
    name = re.sub(r"[^a-z0-9]+", "-", name.removeprefix("test_").lower()).strip("-")[:60]
    directory = scratch / name
    directory.mkdir()
    return Stack(cluster, directory, name)


def passed(request):
    report = getattr(request.node, "report_call", None)
    return report is not None and report.passed


def end(stack):
    sick = stack.down()
    assert not sick, f"a process was not well: {sick}"


@pytest.fixture
def stack(request, cluster, scratch):
    """A stack of the test's own, whose processes are not started yet."""
    stack = make_stack(cluster, scratch, request.node.name)
    yield stack
    if passed(request):
        stack.check()
    end(stack)


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
