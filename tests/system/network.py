"""A network of namespaces, so that what lies between two processes can be cut.

        planner-1        executor-1       ...        each in a namespace of its own
        10.213.1.2       10.213.2.2
             |  veth           |
        ----------------------------- namespace "world"
        10.213.0.1, 10.213.0.2: Postgres, model, tools, broker

A cut drops packets and says nothing to anybody, like a pulled cable: only time-outs notice. The test's own
process stays outside, and talks to Postgres by its Unix socket.
"""

import ctypes
import os
import subprocess
import threading

import psycopg2

from cluster import LOGINS, Cluster
from model import Model
from stack import Stack
from tool import Tools

WORLD = "10.213.0.1"
SECOND = "10.213.0.2"
CLONE_NEWNET = 0x40000000


def run(*words, check=True):
    done = subprocess.run(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert not check or done.returncode == 0, f"{words}: {done.stdout}"
    return done.returncode == 0


class Network:
    """Namespaces, by the name of who lives in them. close() removes them all."""

    def __init__(self):
        self.mark = f"pawl{os.getpid()}"
        self.world = f"{self.mark}w"
        self.places = {}

    @staticmethod
    def why_not():
        """Why there can be no namespaces here; None if there can."""
        name = f"pawl{os.getpid()}t"
        try:
            possible = run("ip", "netns", "add", name, check=False) and all((
                run("ip", "-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1", check=False),
                run("ip", "netns", "exec", name, "iptables", "-t", "nat", "-L", "-n", check=False)))
        except FileNotFoundError as missing:
            return f"{missing.filename} is not installed; ./dev deps infra installs it"
        run("ip", "netns", "del", name, check=False)
        return None if possible else "network namespaces cannot be made here"

    def open(self):
        run("ip", "netns", "add", self.world)
        run("ip", "-n", self.world, "link", "set", "lo", "up")
        for address in (WORLD, SECOND):
            run("ip", "-n", self.world, "address", "add", f"{address}/32", "dev", "lo")
        run("ip", "netns", "exec", self.world, "sysctl", "-q", "-w", "net.ipv4.ip_forward=0",
            "net.ipv4.conf.all.route_localnet=1")
        return self

    def close(self):
        for place in [*self.places.values(), self.world]:
            run("ip", "netns", "del", place, check=False)

    def place(self, name):
        """The namespace of a process, made when it is first asked for."""
        if name in self.places:
            return self.places[name]
        number = len(self.places) + 1
        place, wire = f"{self.mark}p{number}", f"v{number}"
        run("ip", "netns", "add", place)
        self.places[name] = place
        run("ip", "-n", self.world, "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", place)
        run("ip", "-n", self.world, "address", "add", f"10.213.{number}.1/24", "dev", wire)
        run("ip", "-n", self.world, "link", "set", wire, "up")
        run("ip", "-n", place, "address", "add", f"10.213.{number}.2/24", "dev", "eth0")
        run("ip", "-n", place, "link", "set", "eth0", "up")
        run("ip", "-n", place, "link", "set", "lo", "up")
        run("ip", "-n", place, "route", "add", "default", "via", f"10.213.{number}.1")
        return place

    def rule(self, place, *words):
        run("ip", "netns", "exec", place, "iptables", "-w", *words)

    def pass_broker(self, name, port):
        """The embedded broker listens on 127.0.0.1, and says so: in a place, that leads to the world."""
        place, number = self.place(name), list(self.places).index(name) + 1
        run("ip", "netns", "exec", place, "sysctl", "-q", "-w", "net.ipv4.conf.all.route_localnet=1")
        self.rule(place, "-t", "nat", "-A", "OUTPUT", "-d", "127.0.0.1", "-p", "tcp", "--dport", port,
                  "-j", "DNAT", "--to-destination", f"{WORLD}:{port}")
        self.rule(place, "-t", "nat", "-A", "POSTROUTING", "-d", WORLD, "-p", "tcp", "--dport", port,
                  "-j", "SNAT", "--to-source", f"10.213.{number}.2")
        self.rule(self.world, "-t", "nat", "-A", "PREROUTING", "-i", f"v{number}", "-d", WORLD, "-p", "tcp",
                  "--dport", port, "-j", "DNAT", "--to-destination", f"127.0.0.1:{port}")

    def cut(self, name, port, address=None, heal=False):
        """Drops all packets between a process and a port of the world, in both directions."""
        place, verb = self.places[name], "-D" if heal else "-A"
        to = ("-d", address) if address else ()
        back = ("-s", address) if address else ()
        self.rule(place, verb, "OUTPUT", *to, "-p", "tcp", "--dport", port, "-j", "DROP")
        self.rule(place, verb, "INPUT", *back, "-p", "tcp", "--sport", port, "-j", "DROP")

    def heal(self, name, port, address=None):
        self.cut(name, port, address, heal=True)

    def inside(self, make):
        """What make() answers, called by a thread that lives in the world, as do the sockets it opens."""
        answer = []

        def work():
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/var/run/netns/{self.world}") as file:
                assert libc.setns(file.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            answer.append(make())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return answer[0]


class NetCluster(Cluster):
    """Postgres in the world; `network` is open."""

    def __init__(self, directory, network):
        super().__init__(directory, options=(f"listen_addresses={WORLD},{SECOND}",))
        self.network = network
        self.hosts = WORLD
        self.as_user = ["ip", "netns", "exec", network.world, *self.as_user]

    def create_logins(self):
        super().create_logins()
        with open(self.data / "pg_hba.conf", "a") as file:
            file.write("host all all 10.213.0.0/16 trust\n")
        self.execute("SELECT pg_reload_conf()")

    def dsn(self, database, user="postgres"):
        at = f"host={self.directory} port={self.port}"
        if user in (LOGINS["planner"], LOGINS["executor"]):
            at = f"host={self.hosts} port={self.port}"
        return f"{at} dbname={database} user={user}"

    def connect(self, database, user="postgres"):
        connection = psycopg2.connect(host=str(self.directory), port=self.port, dbname=database, user=user)
        connection.autocommit = True
        return connection


class NetStack(Stack):
    """Each process in a place of its own; the broker and all servers in the world."""

    @property
    def network(self):
        return self.cluster.network

    def within(self, name):
        place = self.network.world if name == "broker" else self.network.place(name)
        return ["ip", "netns", "exec", place]

    def servers(self):
        return self.network.inside(lambda: (Model(WORLD), Tools(WORLD)))

    def daemon(self, kind, slot=1, **options):
        name = f"{kind}-{slot}"
        if name not in self.processes:
            self.network.pass_broker(name, self.broker_port)
        return super().daemon(kind, slot, **options)

    @property
    def broker_port(self):
        return int(self.kafka.bootstrap.rsplit(":", 1)[1])

    def cut(self, name, *ports, **options):
        for port in ports:
            self.network.cut(name, port, **options)

    def heal(self, name, *ports, **options):
        for port in ports:
            self.network.heal(name, port, **options)
