"""Real processes with their logs kept, and the ways to hurt them."""

import os
import signal
import subprocess

from waiting import wait_until

# Lines by which a sanitizer, an assertion or glibc says that a process was not well.
SICK = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "Assertion `",
        "WARNING: ThreadSanitizer", "*** stack smashing", "corrupted")


class Process:
    """One program that is started, watched, hurt and started again."""

    def __init__(self, name, argv, log, env=None):
        self.name = name
        self.argv = [str(word) for word in argv]
        self.log = log
        self.env = env or {}
        self.process = None
        self.may_end = False  # an exit is expected, or has been seen

    def start(self, **env):
        assert not self.running, f"{self.name} is running already"
        self.may_end = False
        with open(self.log, "ab") as out:
            out.write(f"--- start of {self.name} {env or ''}\n".encode())
            out.flush()
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **self.env, **env},
                start_new_session=True,
            )
        return self

    @property
    def pid(self):
        return self.process.pid

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """kill -9, and waits for the end."""
        self.may_end = True
        if self.running:
            self.signal(signal.SIGKILL)
        return self.process.wait()

    def stop(self):
        """SIGSTOP: it is frozen, its connections stand."""
        self.signal(signal.SIGSTOP)

    def go_on(self):
        """After stop(). It may find that it was declared dead meanwhile, and end."""
        self.may_end = True
        self.signal(signal.SIGCONT)

    def terminate(self):
        """SIGTERM; does not wait."""
        self.may_end = True
        self.signal(signal.SIGTERM)

    def wait_exit(self, timeout=None):
        """Waits for the process to end by itself; its exit code (negative: the signal)."""
        self.may_end = True
        wait_until(lambda: not self.running, f"{self.name} ends", timeout)
        return self.process.returncode

    def restart(self, **env):
        self.kill()
        return self.start(**env)

    def check(self):
        """Fails when the process has ended and nobody expected it."""
        if self.process is not None and not self.may_end and not self.running:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    def text(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def tail(self, lines=25):
        return "\n".join(self.text().splitlines()[-lines:])

    def sick(self):
        """The first line by which it says that it was not well, or None."""
        return next((line for line in self.text().splitlines() if any(word in line for word in SICK)), None)

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
