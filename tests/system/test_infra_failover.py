"""A fail-over of Postgres to a synchronous standby, under load, with long calls in flight."""

import shutil

import pytest

from failover import HandPair, PatroniPair
from infra import Load, long_only
from waiting import wait_until


def locks_are_of_this_server(stack):
    rows = stack.sql("SELECT lock_server = pawl.server_identity() AS here FROM pawl.workers WHERE state = 'alive'")
    return len(rows) == 4 and all(row["here"] for row in rows)


def fail_over(stack, load, name):
    with load.fault(name) as row:
        stack.cluster.fail_over()
        stack.sql.close()
        row["remarks"].append("the living took their locks anew")
    wait_until(lambda: locks_are_of_this_server(stack), "everybody has taken his lock on the new server",
               watch=stack.check)
    load.end()


@long_only
def test_infra_fail_over_by_hand(make_own):
    stack = make_own(HandPair)
    stack.up(planners=2, executors=2)
    load = Load(stack).begin()
    assert locks_are_of_this_server(stack)
    fail_over(stack, load, "primary killed, synchronous standby promoted by hand")


@long_only
def test_infra_fail_over_by_patroni(make_own):
    missing = [program for program in ("patroni", "etcd") if not shutil.which(program)]
    if missing:
        pytest.skip(f"not installed: {' and '.join(missing)}; ./dev deps infra installs them")
    stack = make_own(PatroniPair)
    stack.up(planners=2, executors=2)
    load = Load(stack).begin()
    fail_over(stack, load, "machine of the primary killed, Patroni promotes the synchronous standby (`ttl` 20 s)")
