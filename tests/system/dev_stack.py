"""A `pawl dev` stack in a directory of its own, for tests."""
import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg2
from waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("PAWL_BUILD_DIR", ROOT / "build" / "dev")).resolve()
PAWL = BUILD / "pawl"
OURS = ("PAWL_CONFIG", "PAWL_POSTGRES_DSN", "PAWL_POSTGRES_DSN_FILE", "PAWL_KAFKA_BOOTSTRAP", "PAWL_DEV_DIR", "PAWL_AS", "OPENAI_API_KEY")


@functools.cache
def template():
    """A cluster that was made once and is copied for each stack: initdb takes seconds."""
    stack = DevStack(fresh=True)
    atexit.register(stack.remove)
    stack.start("--planners", "0", "--executors", "0")
    stack.stop()
    return stack.directory


class DevStack:
    def __init__(self, fresh=False, **environment):
        """fresh: without any cluster yet; otherwise with one of this build's schema."""
        self.home = Path(tempfile.mkdtemp(prefix="pawl-test-"))
        self.home.chmod(0o711)  # when the tests are root, Postgres is another user
        self.directory = self.home / "stack"
        self.environment = {k: v for k, v in os.environ.items() if k not in OURS}
        self.environment |= {"PAWL_DEV_DIR": str(self.directory), "PAWL_AS": "tester", **environment}
        self.process = None
        if not fresh:
            self.directory.mkdir(mode=0o711)
            subprocess.run(["cp", "-a", str(template() / "postgres"), str(self.directory)], check=True)

    def start(self, *arguments, seconds=60):
        log = self.home / "up.log"
        with open(log, "w", encoding="utf-8") as out:
            command = [str(PAWL), "dev", *arguments]
            self.process = subprocess.Popen(command, env=self.environment, stdout=out, stderr=subprocess.STDOUT)

        def ready():
            assert self.process.poll() is None, log.read_text()
            return "pawl is ready" in log.read_text()

        wait_until(ready, "the stack is ready", seconds)
        return self

    def output(self):
        return (self.home / "up.log").read_text()

    def tails(self):
        """The ends of all logs, for tests that failed."""
        logs = [self.home / "up.log", *sorted((self.directory / "log").glob("*.log"))]
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in logs if log.exists())

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(40)
                return
            self.process.kill()
            self.process.wait()

    def remove(self):
        shutil.rmtree(self.home, ignore_errors=True)

    def run(self, *arguments, **more):
        """pawl ARGUMENTS, to its end."""
        more.setdefault("timeout", 60)
        environment = {**self.environment, **more.pop("env", {})}
        command = [str(PAWL), *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **more)

    def pawl(self, *arguments, **more):
        """The same, when it must succeed: what it prints."""
        done = self.run(*arguments, **more)
        assert done.returncode == 0, f"pawl {arguments}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments, **more):
        return json.loads(self.pawl(*arguments, "--json", **more))

    def state(self):
        return json.loads((self.directory / "state.json").read_text())

    def pid(self, name):
        return next(p["pid"] for p in self.state()["processes"] if p["name"] == name)

    def dsn(self, role="pawl"):
        state = self.state()
        return f"host='{state['socket']}' port={state['postgres_port']} dbname=pawl user={role}"

    @contextlib.contextmanager
    def connect(self, role="pawl"):
        connection = psycopg2.connect(self.dsn(role))
        connection.autocommit = True
        try:
            yield connection.cursor()
        finally:
            connection.close()

    def sql(self, statement, *parameters):
        """As the owner of the schema: the first value of the first row."""
        with self.connect() as cursor:
            cursor.execute(statement, parameters)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def load(self, path):
        """A psql script, like those of tests/sql."""
        subprocess.run(["psql", "-X", "-q", "-d", self.dsn(), "-f", str(path)], check=True, capture_output=True)
