"""Scripted tools: an HTTP server with a ledger of every execution, which is the judge of the tests.

    tools.behave("send", CloseWithoutAnswer(), Ok())    # 1st execution, 2nd and all later ones

POST /tool/NAME executes; GET /probe/NAME/KEY answers what the test has set for that tool. What a
behaviour does it does after the entry in the ledger: the effect has happened by then.
"""

import json
import threading
import time
import urllib.parse
from typing import NamedTuple

from http_server import Server


class Execution:
    """One line of the ledger."""

    def __init__(self, tool, handler, body):
        self.tool = tool
        self.key = (handler.headers.get("Idempotency-Key") or "").strip('"')
        self.run = handler.headers.get("X-Pawl-Run-Id")
        self.step = int(handler.headers.get("X-Pawl-Step") or 0)
        self.call = int(handler.headers.get("X-Pawl-Call") or 0)
        self.headers = dict(handler.headers.items())
        self.method = handler.command
        self.body = body
        self.at = time.monotonic()
        self.ended_at = None

    @property
    def arguments(self):
        return json.loads(self.body)


class Probe(NamedTuple):
    tool: str
    key: str
    wall: float


class Behaviour:
    def serve(self, handler, execution):
        raise NotImplementedError


class Ok(Behaviour):
    """200 with a result; by default what was executed."""

    def __init__(self, result=None):
        self.result = result

    def serve(self, handler, execution):
        result = self.result
        if result is None:
            result = {"done": execution.tool, "key": execution.key}
        handler.reply(200, result if isinstance(result, (str, bytes)) else json.dumps(result))


class After(Behaviour):
    """Waits for an event, or for seconds, then goes on; a caller that has gone ends it."""

    def __init__(self, gate, then=None):
        self.gate = gate
        self.then = then or Ok()

    def serve(self, handler, execution):
        event = self.gate if isinstance(self.gate, threading.Event) else None
        if handler.wait(event=event, seconds=None if event else self.gate):
            self.then.serve(handler, execution)


class Never(Behaviour):
    """No answer; ends when the caller has gone."""

    def serve(self, handler, execution):
        handler.wait()


class CloseWithoutAnswer(Behaviour):
    """Executes, then closes the connection, as a server does that is restarted."""

    def serve(self, handler, execution):
        handler.hang_up()


class ResetInAnswer(Behaviour):
    """The head and half of the body, then RST."""

    def serve(self, handler, execution):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 500)
        handler.hang_up(reset=True)


class Huge(Behaviour):
    """A body of 1 GB, or as much of it as the caller takes."""

    def serve(self, handler, execution):
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 30))
        handler.end_headers()
        for _ in range(1 << 14):
            handler.wfile.write(b"y" * 65536)


class Garbage(Behaviour):
    """Bytes that are no HTTP."""

    def serve(self, handler, execution):
        handler.wfile.write(b"\x00\xff\x16\x03 this is not HTTP\r\n\r\n")
        handler.hang_up()


class NotText(Behaviour):
    """A well-formed answer whose body is not UTF-8 and has NUL bytes."""

    def serve(self, handler, execution):
        handler.reply(200, b"\x00\xff\xfeab\xc3(", content_type="application/octet-stream")


class Drip(Behaviour):
    """One byte at a time, for ever."""

    def serve(self, handler, execution):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while handler.wait(seconds=0.05):
            handler.wfile.write(b".")
            handler.wfile.flush()


class Status(Behaviour):
    """Another status than 200."""

    def __init__(self, status, body='{"error":"no"}', headers=()):
        self.status, self.body, self.headers = status, body, headers

    def serve(self, handler, execution):
        handler.reply(self.status, self.body, self.headers)


class Echo(Behaviour):
    """Answers the headers that it got, secrets included."""

    def serve(self, handler, execution):
        handler.reply(200, json.dumps(execution.headers))


class Tools(Server):
    """The server. `ledger` is a list of Execution; `probes` one of Probe."""

    def __init__(self, host="127.0.0.1"):
        super().__init__(host)
        self.ledger = []
        self.probes = []
        self.behaviours = {}
        self.probe_answers = {}

    def behave(self, tool, *behaviours):
        self.behaviours[tool] = list(behaviours)

    def probe(self, tool, *answers):
        """1st, 2nd ... probe: "ledger" (the truth), "happened", "not", "unsure", "down"."""
        self.probe_answers[tool] = list(answers)

    def executions(self, tool=None):
        with self.lock:
            return [entry for entry in self.ledger if tool is None or entry.tool == tool]

    def keys(self, tool):
        return {entry.key for entry in self.executions(tool)}

    def probed(self, tool):
        with self.lock:
            return [probe.key for probe in self.probes if probe.tool == tool]

    def serve(self, handler):
        body = handler.body()
        path = urllib.parse.urlsplit(handler.path).path
        words = path.strip("/").split("/")
        if words[0] == "probe":
            self.serve_probe(handler, words[1], words[2])
            return
        execution = Execution(words[1], handler, body)
        with self.lock:
            before = sum(1 for entry in self.ledger if entry.tool == execution.tool)
            self.ledger.append(execution)
        script = self.behaviours.get(execution.tool) or [Ok()]
        try:
            script[min(before, len(script) - 1)].serve(handler, execution)
        finally:
            execution.ended_at = time.monotonic()

    def serve_probe(self, handler, tool, key):
        with self.lock:
            before = sum(1 for probe in self.probes if probe.tool == tool)
            self.probes.append(Probe(tool, key, time.time()))
            known = any(entry.key == key for entry in self.ledger)
        script = self.probe_answers.get(tool) or ["ledger"]
        answer = script[min(before, len(script) - 1)]
        if answer == "ledger":
            answer = "happened" if known else "not"
        if answer == "happened":
            handler.reply(200, json.dumps({"happened": True, "result": {"found": key}}))
        elif answer == "not":
            handler.reply(200, json.dumps({"happened": False}))
        elif answer == "unsure":
            handler.reply(200, json.dumps({"happened": None}))
        else:
            handler.reply(503, "down")
