"""A peer that wishes us ill: a raw TCP server, tool and model at once, whose answers are attacks.

    POST /tool/NAME                    the attack NAME, as the answer of a tool
    POST /model/NAME/chat/completions  the same, as the answer of a model

The ledger counts the requests that came whole, by name: the judge of "never sent twice". An attack is
a function of the peer; it ends when it returns, or when the caller hangs up. See hostile_answers.py.
"""

import socket
import socketserver
import threading
import time


class Gone(Exception):
    """The caller has hung up, or the test is over."""


class Peer:
    """The caller's side of one connection, with the request that it sent."""

    def __init__(self, connection, server):
        self.connection = connection
        self.server = server
        self.received = b""
        self.path = ""
        self.headers = {}
        self.body = b""

    def send(self, *pieces):
        try:
            for piece in pieces:
                self.connection.sendall(piece.encode() if isinstance(piece, str) else piece)
        except OSError as error:
            raise Gone from error

    def for_ever(self, piece):
        """The same again and again, as long as the caller takes it; `piece` may be made by a function."""
        while True:
            self.send(piece() if callable(piece) else piece)

    def drip(self, data, pause=1.0):
        """One byte, a pause, one byte ..."""
        for byte in data:
            self.send(bytes([byte]))
            self.pause(pause)

    def pause(self, seconds):
        """Waits, but no longer than the caller does."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.connection.settimeout(min(left, 0.2))
            try:
                if self.connection.recv(1, socket.MSG_PEEK) == b"":
                    raise Gone
                time.sleep(min(left, 0.02))  # it has sent more, which is not our concern
            except TimeoutError:
                pass
            except OSError as error:
                raise Gone from error
            finally:
                self.connection.settimeout(60)
            if self.server.closing.is_set():
                raise Gone

    def wait(self):
        self.pause(3600)

    # --- the request --------------------------------------------------------------------------

    def more(self):
        piece = self.connection.recv(65536)
        if not piece:
            raise Gone
        self.received += piece

    def read_head(self):
        while b"\r\n\r\n" not in self.received:
            self.more()
            if self.received.startswith(b"\x16\x03"):  # TLS, as a plain server answers it
                self.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                raise Gone
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.path = lines[0].split()[1]
        self.headers = {name.strip().lower(): value.strip()
                        for name, _, value in (line.partition(":") for line in lines[1:])}

    def read_body(self):
        length = int(self.headers.get("content-length") or 0)
        while len(self.received) < length:
            self.more()
        self.body, self.received = self.received[:length], self.received[length:]


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.settimeout(60)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(self.request, self.server.owner)
        try:
            again = True
            while again:
                again = self.server.owner.serve(peer)
        except (Gone, OSError):
            pass


class Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256
    owner = None

    def handle_error(self, request, client_address):
        self.owner.broken.append(client_address)
        super().handle_error(request, client_address)


class Hostile:
    """Listens on a free port of 127.0.0.1 until close(). `attacks`: functions by name."""

    def __init__(self, attacks):
        self.attacks = attacks
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.ledger = []  # (kind, name, idempotency key)
        self.broken = []  # attacks that failed by a mistake of their own
        self.listener = Listener(("127.0.0.1", 0), Connection)
        self.listener.owner = self
        self.port = self.listener.server_address[1]
        threading.Thread(target=self.listener.serve_forever, args=(0.05,), daemon=True).start()

    def serve(self, peer):
        """One request; whether the connection is kept for another one."""
        peer.read_head()
        kind, name = peer.path.partition("?")[0].strip("/").split("/")[:2]
        attack = self.attacks[name]
        if not getattr(attack, "early", False):
            peer.read_body()
        with self.lock:
            self.ledger.append((kind, name, peer.headers.get("idempotency-key")))
        return attack(peer) == "keep"

    def url(self, kind, name):
        """Every attack has a host name of its own: no connection is used for another one as well."""
        host = name.replace("_", "-")
        return f"http://{host}.localhost:{self.port}/{kind}/{name}"

    def count(self, kind, name):
        with self.lock:
            return sum(1 for entry in self.ledger if entry[:2] == (kind, name))

    def close(self):
        self.closing.set()
        self.listener.shutdown()
        self.listener.server_close()
