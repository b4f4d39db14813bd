"""Waiting for conditions, never for time."""

import os
import time

# How long a condition may take before the test has failed. It ends only tests that fail, so it is
# generous: the machine may be slow, and builds with sanitizers are.
PATIENCE = float(os.environ.get("PAWL_TEST_PATIENCE", "45"))


def wait_until(condition, what, timeout=None, pause=0.03, watch=None):
    """Calls `condition` until it answers something true, and returns that.

    `what` is the sentence for the failure; `watch` is called at each look and may raise.
    """
    deadline = time.monotonic() + (timeout or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if watch:
            watch()
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain: {what} (last answer: {value!r})")
        time.sleep(pause)


def stays(condition, what, seconds):
    """That something does not happen can only be watched for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"did not stay so: {what}"
        time.sleep(0.05)
