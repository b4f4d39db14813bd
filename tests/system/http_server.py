"""What the model server and the tool server have in common: a threaded HTTP/1.1 server in this
process, whose handlers may wait, hang up in the middle, and notice that their caller has gone."""

import select
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """One connection; kept alive as long as both sides wish."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True  # the peer has gone, which is part of the game

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self):
        self.server.owner.serve(self)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def reply(self, status, body=b"", headers=(), content_type="application/json"):
        """A whole answer in one write."""
        if isinstance(body, str):
            body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self, reset=False):
        """Ends the connection now; `reset` sends RST instead of FIN."""
        self.wfile.flush()
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def caller_gone(self):
        """Whether the other side has closed the connection."""
        try:
            ready, _, _ = select.select([self.connection], [], [], 0)
            return bool(ready) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):
            return True

    def wait(self, event=None, seconds=None):
        """Until the event is set or the seconds are over (True), or the caller has gone (False)."""
        end = time.monotonic() + seconds if seconds is not None else None
        while not self.server.owner.closing.is_set():
            if event is not None and event.is_set():
                return True
            if end is not None and time.monotonic() >= end:
                return True
            if self.caller_gone():
                return False
            left = 0.02 if end is None else max(0, min(0.02, end - time.monotonic()))
            time.sleep(left)
        return False


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner = None


class Server:
    """Listens on a free port until close(); subclasses have serve(handler)."""

    def __init__(self, host="127.0.0.1"):
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.listener = Listener((host, 0), Handler)
        self.listener.owner = self
        self.port = self.listener.server_address[1]
        self.url = f"http://{host}:{self.port}"
        threading.Thread(target=self.listener.serve_forever, args=(0.05,), daemon=True).start()

    def serve(self, handler):
        raise NotImplementedError

    def close(self):
        self.closing.set()
        self.listener.shutdown()
        self.listener.server_close()
