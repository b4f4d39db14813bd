"""What a tool cannot go on without."""

import socket
import subprocess

from waiting import wait_until


class Trouble(Exception):
    """The sentence is for the person who called."""


def wait_for(what, condition, seconds, watch=None, pause=0.05):
    try:
        return wait_until(condition, what, seconds, pause=pause, watch=watch)
    except AssertionError as failure:
        raise Trouble(str(failure)) from None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def output_of(words, env=None, **more):
    """Runs a command to its end: what it printed."""
    words = [str(word) for word in words]
    try:
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, **more)
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise Trouble(f"{words[0]} cannot be run: {failure}") from None
    if done.returncode:
        raise Trouble(f"{' '.join(words[:4])} failed: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout
