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
    stack = item.funcargs.get("stack") if hasattr(item, "funcargs") else None
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


@pytest.fixture
def stack(request, cluster, scratch):
    """A stack whose processes are not started yet. At the end none of them may have been ill."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:60]
    directory = scratch / name
    directory.mkdir()
    stack = Stack(cluster, directory, name)
    yield stack
    failed = getattr(request.node, "report_call", None) is None or request.node.report_call.failed
    if not failed:
        stack.check()
    sick = stack.down()
    assert not sick, f"a process was not well: {sick}"
