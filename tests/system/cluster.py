"""A private Postgres cluster for the whole test run, and a database for each test."""

import glob
import os
import subprocess
import threading
import time

import psycopg2

from trouble import free_port
from waiting import wait_until

# The login roles of the tests, each with the rights of one role of the schema and no more.
LOGINS = {"planner": "t_planner", "executor": "t_executor", "operator": "t_operator"}


def pg_bin():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))
    assert found, "there is no Postgres server in /usr/lib/postgresql; run ./dev deps run"
    return found[-1]


class Cluster:
    """Listens on 127.0.0.1, and on a socket in its own directory. `data` and `wal` are paths from
    there, or None: "data", and within it; `options` are settings, NAME=VALUE."""

    def __init__(self, directory, data=None, wal=None, options=()):
        self.directory = directory
        self.data = directory / (data or "data")
        self.wal = directory / wal if wal else None
        self.options = options
        self.port = free_port()
        self.bin = pg_bin()
        self.databases = 0
        self.lock = threading.Lock()  # a template can be copied by one session at a time
        # Postgres refuses to run as root.
        self.as_user = []
        if os.geteuid() == 0:
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            subprocess.run(["chown", "postgres", directory], check=True)

    def tool(self, *words):
        done = subprocess.run([*self.as_user, *map(str, words)], cwd=self.directory,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"{words[0]} failed:\n{done.stdout}\n{self.log_tail()}"

    def create(self):
        wal = ["-X", self.wal, "--wal-segsize=1"] if self.wal else []
        self.tool(f"{self.bin}/initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8",
                  "--locale=C.UTF-8", "--no-sync", *wal)
        self.start()
        self.create_logins()

    def create_logins(self):
        with self.connect("postgres") as connection, connection.cursor() as cursor:
            for role, login in LOGINS.items():
                cursor.execute(f"CREATE ROLE pawl_{role} NOLOGIN")
                cursor.execute(f"CREATE ROLE {login} LOGIN IN ROLE pawl_{role}")

    def start(self):
        options = (f"-p {self.port} -k {self.directory} -c listen_addresses=127.0.0.1 -c fsync=off "
                   "-c max_connections=200 -c log_min_messages=warning "
                   "-c autovacuum=off" + "".join(f" -c {option}" for option in self.options))
        # -l would keep the file open in the server: pg_ctl's own output must not be a pipe of ours.
        self.tool(f"{self.bin}/pg_ctl", "-D", self.data, "-w", "-t", "60", "-l", self.directory / "log",
                  "-o", options, "start")

    def stop(self, mode="fast"):
        self.tool(f"{self.bin}/pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def restart(self, mode="fast"):
        """A restart under the feet of everybody who is connected."""
        self.stop(mode)
        self.start()

    def log_tail(self):
        try:
            return "\n".join((self.directory / "log").read_text(errors="replace").splitlines()[-20:])
        except OSError:
            return ""

    def connect(self, database, user="postgres"):
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, dbname=database, user=user)
        connection.autocommit = True
        return connection

    def dsn(self, database, user="postgres"):
        return f"host=127.0.0.1 port={self.port} dbname={database} user={user}"

    def template(self, pawl):
        """One database with the schema in it, by the command line at this path; the others are copies."""
        self.execute("CREATE DATABASE pawl_template")
        env = {**os.environ, "PAWL_POSTGRES_DSN": self.dsn("pawl_template")}
        done = subprocess.run([pawl, "migrate", "up"], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout

    def database(self):
        with self.lock:
            self.databases += 1
            name = f"t{self.databases}"
            self.execute(f"CREATE DATABASE {name} TEMPLATE pawl_template")
        return name

    def drop(self, name):
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, statement):
        connection = self.connect("postgres")
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()


class Sql:
    """Questions of a test to its database, as its owner; survives restarts of the server."""

    def __init__(self, cluster, database):
        self.cluster = cluster
        self.database = database
        self.connection = None

    def __call__(self, statement, *parameters):
        """All rows, as dictionaries."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return self._ask(statement, parameters)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _ask(self, statement, parameters):
        if self.connection is None:
            self.connection = self.cluster.connect(self.database)
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            if cursor.description is None:
                return []
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    def one(self, statement, *parameters):
        rows = self(statement, *parameters)
        return rows[0] if rows else None

    def value(self, statement, *parameters):
        row = self.one(statement, *parameters)
        return next(iter(row.values())) if row else None

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None


def wait_ready(cluster):
    wait_until(lambda: _answers(cluster), "Postgres answers")


def _answers(cluster):
    try:
        cluster.connect("postgres").close()
        return True
    except psycopg2.OperationalError:
        return False
