"""Two Postgres servers, of which the second repeats the first one synchronously: switched by hand, or by
Patroni with etcd. The connection string of pawl names both."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request

import psycopg2

from cluster import Cluster, free_port
from processes import Process
from waiting import wait_until


def processes_in(directory):
    """Process ids of all whose working directory it is: a postmaster and its children."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.path.realpath(f"/proc/{entry}/cwd") == str(directory):
                found.append(int(entry))
        except OSError:
            continue
    return found


def kill_server(data):
    """kill -9 for a whole server, as when its machine loses power."""
    while pids := processes_in(data):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)


class Pair(Cluster):
    """What both ways have in common: two ports in one connection string."""

    def __init__(self, directory, **options):
        super().__init__(directory, **options)
        self.ports = [self.port, free_port()]

    def dsn(self, database, user="postgres"):
        ports = ",".join(map(str, self.ports))
        return f"host=127.0.0.1,127.0.0.1 port={ports} dbname={database} user={user}"

    def connect(self, database, user="postgres"):
        connection = psycopg2.connect(self.dsn(database, user), target_session_attrs="read-write")
        connection.autocommit = True
        return connection

    def is_synchronous(self):
        connection = self.connect("postgres")
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')")
                return cursor.fetchone()[0] > 0
        finally:
            connection.close()

    def wait_synchronous(self):
        wait_until(self.is_synchronous, "the standby repeats synchronously", 90)


class Standby(Cluster):
    """A server made from a base backup of another one."""

    def __init__(self, primary, directory, port):
        super().__init__(directory, options=primary.options)
        self.primary = primary
        self.port = port

    def create(self):
        self.tool(f"{self.bin}/pg_basebackup", "-D", self.data, "-R", "-X", "stream", "-c", "fast", "-h", "127.0.0.1",
                  "-p", self.primary.port, "-U", "postgres", "--no-sync")
        self.start()


class HandPair(Pair):
    """pg_basebackup, synchronous_standby_names, pg_ctl promote."""

    def create(self):
        super().create()
        directory = self.directory / "standby"
        directory.mkdir()
        self.standby = Standby(self, directory, self.ports[1])
        self.standby.create()
        # Only after the backup: the standby, promoted, shall not wait for one of its own.
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.execute("SELECT pg_reload_conf()")
        self.wait_synchronous()

    def fail_over(self):
        kill_server(self.data)
        self.standby.tool(f"{self.bin}/pg_ctl", "-D", self.standby.data, "-w", "promote")

    def stop(self, mode="fast"):
        for server in (self, self.standby):
            kill_server(server.data)


class PatroniPair(Pair):
    """Patroni on two nodes, with one etcd. A node has its own Patroni, and both are killed together."""

    def create(self):
        self.etcd_port, etcd_peer = free_port(), free_port()
        url = f"http://127.0.0.1:{self.etcd_port}"
        self.etcd = Process("etcd", ["etcd", "--data-dir", self.directory / "etcd", "--listen-client-urls", url,
                                     "--advertise-client-urls", url, "--listen-peer-urls",
                                     f"http://127.0.0.1:{etcd_peer}", "--log-level", "warn"],
                            self.directory / "etcd.log").start()
        self.rest = [free_port(), free_port()]
        self.nodes = [self.node(at) for at in range(2)]
        self.nodes[0].start()
        wait_until(lambda: self.leader() is not None, "Patroni has made its first server", 90)
        self.nodes[1].start()
        self.wait_synchronous()
        self.create_logins()

    def node(self, at):
        directory = self.directory / f"node-{at}"
        directory.mkdir()
        if self.as_user:
            shutil.chown(directory, "postgres")
        config = {
            "scope": "pawl", "name": f"node-{at}", "etcd3": {"host": f"127.0.0.1:{self.etcd_port}"},
            "restapi": {"listen": f"127.0.0.1:{self.rest[at]}", "connect_address": f"127.0.0.1:{self.rest[at]}"},
            "bootstrap": {
                # The shortest that Patroni takes: an owner that is silent for 20 s has lost its place.
                "dcs": {"ttl": 20, "loop_wait": 2, "retry_timeout": 3, "synchronous_mode": True},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, {"auth": "trust"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.ports[at]}", "connect_address": f"127.0.0.1:{self.ports[at]}",
                "data_dir": str(directory / "data"), "bin_dir": self.bin, "pgpass": str(directory / "pgpass"),
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 trust",
                           "host replication all 127.0.0.1/32 trust"],
                "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "postgres"}},
                "parameters": {"unix_socket_directories": str(directory), "max_connections": 200},
            },
        }
        path = directory / "patroni.yaml"
        path.write_text(json.dumps(config, indent=1))
        process = Process(f"patroni-{at}", [*self.as_user, "patroni", path], directory / "log")
        process.env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}  # Debian's Python, which has its modules
        return process

    def ask(self, at, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest[at]}{path}", timeout=2) as answer:
                return answer.status
        except OSError:
            return None

    def leader(self):
        return next((at for at in range(2) if self.ask(at, "/primary") == 200), None)

    def fail_over(self):
        """Kills the machine of the leader; what happens then is up to Patroni."""
        old = self.leader()
        self.nodes[old].kill()
        kill_server(self.directory / f"node-{old}" / "data")
        wait_until(lambda: self.leader() == 1 - old, "Patroni has promoted the standby", 120)
        return old

    def stop(self, mode="fast"):
        for at, node in enumerate(self.nodes):
            if node.process:
                node.kill()
            kill_server(self.directory / f"node-{at}" / "data")
        self.etcd.kill()
