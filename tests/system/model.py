"""A scripted model, streamed, that keeps a ledger. It speaks every dialect of dialects.py, by path.

What it answers depends on the step (the number of assistant messages it is shown) and on how often
that step of that conversation was asked:

    model.script(Call(("send", {"n": 1})), Say("done"))
    model.script([Hang(), Call(("send", {"n": 1}))], Say("done"))    # step 1 is asked twice
"""

import json
import threading
import time

from dialects import OpenAIChat, dialect_at
from http_server import Server


class Reply:
    """What is answered to one request. `gate`: an event to wait for first; `pause`: an event, or
    seconds, to wait for in the middle, after the first bytes of the answer."""

    def __init__(self, gate=None, pause=None):
        self.gate = gate
        self.pause = pause

    def serve(self, handler, ask):
        raise NotImplementedError


class Streamed(Reply):
    """An answer that comes in pieces, as providers send it."""

    def deltas(self, ask):
        raise NotImplementedError

    def reason(self):
        return "stop"

    def usage(self, ask):
        return {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}

    def serve(self, handler, ask):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        voice = ask.dialect(handler, ask)
        voice.begin()
        for at, delta in enumerate(self.deltas(ask)):
            voice.delta(delta)
            if at == 0 and self.pause is not None and not pass_gate(handler, self.pause):
                return False
        voice.end(self.reason(), self.usage(ask))
        return True


class Say(Streamed):
    """Text: the run's answer."""

    def __init__(self, text, **options):
        super().__init__(**options)
        self.text = text

    def deltas(self, ask):
        half = len(self.text) // 2
        return [{"content": self.text[:half]}, {"content": self.text[half:]}]


class Call(Streamed):
    """Calls of tools: pairs of name and arguments (an object, or a string sent as it is)."""

    def __init__(self, *calls, **options):
        super().__init__(**options)
        self.calls = calls

    def deltas(self, ask):
        for index, (name, arguments) in enumerate(self.calls):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            half = len(text) // 2
            yield {"tool_calls": [{"index": index, "id": f"call_{ask.step}_{index}", "type": "function",
                                   "function": {"name": name, "arguments": text[:half]}}]}
            yield {"tool_calls": [{"index": index, "function": {"arguments": text[half:]}}]}

    def reason(self):
        return "tool_calls"


class Hang(Reply):
    """Never answers; ends when the caller has gone."""

    def serve(self, handler, ask):
        handler.wait()
        return False


class Status(Reply):
    """An error of the provider."""

    def __init__(self, status, retry_after=None, body='{"error":{"message":"no"}}', **options):
        super().__init__(**options)
        self.status, self.retry_after, self.text = status, retry_after, body

    def serve(self, handler, ask):
        headers = [("Retry-After", str(self.retry_after))] if self.retry_after is not None else []
        handler.reply(self.status, self.text, headers)
        return True


class Garbage(Reply):
    """200 and a stream of nonsense."""

    def serve(self, handler, ask):
        handler.reply(200, b"data: \xff\xfe{nonsense\n\ndata: ]]\n\n", content_type="text/event-stream")
        return True


class Cut(Reply):
    """The connection ends in the middle of the stream."""

    def serve(self, handler, ask):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        ask.dialect(handler, ask).delta({"content": "half an ans"})
        handler.hang_up(reset=True)
        return True


class Endless(Reply):
    """A stream that does not end: gigabytes of text, until the caller has enough."""

    def serve(self, handler, ask):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        piece = {"choices": [{"index": 0, "delta": {"content": "x" * 65536}}]}
        while not handler.server.owner.closing.is_set():
            OpenAIChat.chunk(handler, piece)
        return False


class Ask:
    """One request to the model, as the ledger keeps it."""

    def __init__(self, body, dialect=OpenAIChat):
        self.body = body
        self.dialect = dialect
        self.messages = dialect.messages(body)  # as in OpenAI chat completions
        self.step = 1 + sum(1 for message in self.messages if message.get("role") == "assistant")
        self.user = next((m.get("content") for m in self.messages if m.get("role") == "user"), None)
        self.at = time.monotonic()
        self.wall = time.time()
        self.answered = False  # the whole answer was written
        self.ended_at = None

    def results(self):
        """The tool results that the model reads, by call id."""
        return {m["tool_call_id"]: m["content"] for m in self.messages if m.get("role") == "tool"}


def pass_gate(handler, gate):
    if isinstance(gate, threading.Event):
        return handler.wait(event=gate)
    return handler.wait(seconds=gate)


class Model(Server):
    """The server. `asks` is the ledger."""

    def __init__(self, host="127.0.0.1"):
        super().__init__(host)
        self.asks = []
        self.steps = [[Say("nothing was scripted")]]

    def script(self, *steps):
        self.steps = [step if isinstance(step, list) else [step] for step in steps]

    def asked(self, step=None):
        with self.lock:
            return [ask for ask in self.asks if step is None or ask.step == step]

    def serve(self, handler):
        ask = Ask(json.loads(handler.body()), dialect_at(handler.path))
        with self.lock:
            before = sum(1 for other in self.asks if other.step == ask.step and other.user == ask.user)
            self.asks.append(ask)
        replies = self.steps[min(ask.step, len(self.steps)) - 1]
        reply = replies[min(before, len(replies) - 1)]
        try:
            if reply.gate is None or pass_gate(handler, reply.gate):
                ask.answered = reply.serve(handler, ask)
        finally:
            ask.ended_at = time.monotonic()
