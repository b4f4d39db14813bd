#!/usr/bin/env python3
"""A model that costs nothing: an OpenAI-compatible chat endpoint that follows a script.

    ./model_server.py --listen 127.0.0.1:8081 --delay 2

It answers POST /v1/chat/completions as a provider would, streamed or not.  What it
answers depends on the conversation alone, so the same question always gets the same
answer, whoever asks and however often.  The model's name chooses the script:

    invoices                 looks up every customer named in the request, sends each an
                             invoice, then reports (the script of the demo)
    scripted;s=8;k=2;d=0;b=1024
                             s steps with k tool calls in each but the last, d milliseconds
                             of thinking, b bytes of text; the calls go to the tools of the
                             request in turn, with arguments made up from their schemas

GET /stats tells how many calls came in, how many are being answered at this moment, how
many were cut off by their caller, and how many asked what had been asked before.
"""
import argparse
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECES = 8  # a streamed text comes in about so many pieces


class Stats:
    """What this server has seen, counted under one lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.reset()

    def reset(self):
        with self.lock:
            self.total = self.final = self.cut = self.in_flight = self.peak = 0
            self.asked = {}

    def begin(self, conversation):
        with self.lock:
            self.total += 1
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            self.asked[conversation] = self.asked.get(conversation, 0) + 1

    def end(self, final, cut):
        with self.lock:
            self.in_flight -= 1
            self.final += 1 if final and not cut else 0
            self.cut += 1 if cut else 0

    def report(self):
        with self.lock:
            return {
                "total": self.total,
                "in_flight": self.in_flight,
                "peak": self.peak,
                "final": self.final,
                "cut": self.cut,
                "keys": len(self.asked),
                "asked_again": sum(n - 1 for n in self.asked.values()),
            }


# ---------------------------------------------------------------- the scripts


def call(step, index, name, arguments):
    return {
        "id": f"call_{step}_{index}",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments)},
    }


def text_of(message):
    content = message.get("content") or ""
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content)
    return content


def customers_in(messages):
    """The names after the last "to": Send the November invoice to Ada, Grace and Alan."""
    asked = " ".join(text_of(m) for m in messages if m.get("role") == "user")
    names = re.findall(r"\b[A-Z][a-z]+\b", asked.rsplit(" to ", 1)[-1])
    return list(dict.fromkeys(names))


def json_or_none(text):
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def receipts(names, looked_up, known, results):
    """The last answer: what became of each invoice."""
    lines = []
    for customer, result in zip(known, results):
        sent = json_or_none(result) or {}
        lines.append(f"- {customer['customer']}: {sent.get('invoice', result[:120])}")
    lines += [f"- {name}: not a customer" for name, c in zip(names, looked_up) if c not in known]
    return "Done.\n" + "\n".join(lines), []


def invoices(messages):
    """Look up everybody, send everybody an invoice, report.  One step each."""
    names = customers_in(messages)
    results = [text_of(m) for m in messages if m.get("role") == "tool"]
    if not names:
        return "Tell me whom to send an invoice to, for example: to Ada, Grace and Alan.", []
    if not results:
        calls = [call(1, i, "lookup_customer", {"customer": n}) for i, n in enumerate(names)]
        return f"I will look up {len(names)} customers.", calls

    looked_up = [json_or_none(r) for r in results[: len(names)]]
    known = [c for c in looked_up if c and "customer" in c and "amount" in c]
    if len(results) > len(names) or not known:
        return receipts(names, looked_up, known, results[len(names):])
    calls = []
    for index, c in enumerate(known):
        calls.append(call(2, index, "send_invoice", {"customer": c["customer"], "amount": c["amount"]}))
    return f"I know what {len(known)} of them owe, and will send the invoices.", calls


def made_up(schema, name, step, index, messages):
    """A value that fits a property of a tool's schema."""
    if "enum" in schema:
        return schema["enum"][index % len(schema["enum"])]
    if name == "step":
        return step
    if name == "k":
        return index + 1
    kind = schema.get("type", "string")
    if kind in ("integer", "number"):
        return step * 100 + index
    if kind == "boolean":
        return index % 2 == 0
    if kind == "array":
        return []
    if kind == "object":
        return {}
    asked = [text_of(m) for m in messages if m.get("role") == "user"]
    words = re.findall(r"\b[A-Z]\w+", asked[-1] if asked else "")[1:] or ["something"]
    return words[(step - 1 + index) % len(words)]


def filler(head, size):
    """Text of `size` bytes that looks a little like words and is always the same."""
    seed, words, length = hashlib.sha256(head.encode()).hexdigest(), [head], len(head)
    while length < size:
        seed = hashlib.sha256(seed.encode()).hexdigest()
        word = seed[: 2 + int(seed[:1], 16) % 7]
        words.append(word)
        length += len(word) + 1
    return " ".join(words)[: max(size, len(head))]


def scripted(options, request):
    """s steps, k calls in each but the last: a function of the number of tool messages."""
    messages = request["messages"]
    steps, per_step, size = (int(options.get(k, v)) for k, v in (("s", 2), ("k", 1), ("b", 0)))
    results = [text_of(m) for m in messages if m.get("role") == "tool"]
    step = len(results) // per_step + 1 if per_step else steps
    if step >= steps:
        told = "".join(f"\n- {r[:300]}" for r in results[-8:])
        return filler("The tools said:" + told if told else "There was nothing to do.", size), []
    tools = [t["function"] for t in request.get("tools") or []] or [{"name": "lookup"}]
    calls = []
    for index in range(per_step):
        tool = tools[index % len(tools)]
        wanted = (tool.get("parameters") or {}).get("properties") or {"step": {}, "k": {}}
        arguments = {n: made_up(s, n, step, index, messages) for n, s in wanted.items()}
        calls.append(call(step, index, tool["name"], arguments))
    return filler(f"Step {step} of {steps}.", size), calls


def answer(request):
    """-> (text, tool calls, seconds of thinking asked for by the model's name or None)"""
    name, _, rest = request.get("model", "").partition(";")
    if name != "scripted":
        return (*invoices(request["messages"]), None)
    options = dict(part.split("=", 1) for part in rest.split(";") if "=" in part)
    delay = float(options["d"]) / 1000 if "d" in options else None
    return (*scripted(options, request), delay)


# ------------------------------------------------------------------- the wire


def usage_of(request, text, calls):
    """About four bytes make a token."""
    prompt = len(json.dumps(request["messages"])) // 4
    completion = (len(text) + sum(len(c["function"]["arguments"]) for c in calls)) // 4 + 1
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def deltas(text, calls):
    """The pieces of a streamed answer, as OpenAI sends them."""
    yield {"role": "assistant", "content": ""}
    size = max(1, (len(text) + PIECES - 1) // PIECES)
    for at in range(0, len(text), size):
        yield {"content": text[at : at + size]}
    for index, item in enumerate(calls):
        function = item["function"]
        half = len(function["arguments"]) // 2
        opening = {"name": function["name"], "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": item["id"], "type": "function", "function": opening}]}
        for part in (function["arguments"][:half], function["arguments"][half:]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def send_json(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, text):
        self.send_json(status, {"error": {"message": text, "type": "invalid_request_error"}})

    def read_request(self):
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = json.loads(body)
            if isinstance(request, dict) and isinstance(request.get("messages"), list):
                return request
        except ValueError:
            pass
        return None

    def do_GET(self):
        if self.path == "/stats":
            self.send_json(200, self.server.stats.report())
        else:
            self.refuse(404, "there is GET /stats and POST /v1/chat/completions")

    def do_POST(self):
        request = self.read_request()
        if self.path == "/reset":
            self.server.stats.reset()
            self.send_json(200, {})
        elif self.path != "/v1/chat/completions":
            self.refuse(404, "there is GET /stats and POST /v1/chat/completions")
        elif request is None:
            self.refuse(400, "the body must be a JSON object with a list of messages")
        else:
            self.complete(request)

    def complete(self, request):
        stats = self.server.stats
        conversation = json.dumps([request.get("user"), request["messages"]], sort_keys=True)
        key = hashlib.sha256(conversation.encode()).hexdigest()
        text, calls, delay = answer(request)
        delay = self.server.delay if delay is None else delay
        cut = False
        stats.begin(key)
        try:
            if request.get("stream"):
                self.stream(request, key, text, calls, delay)
            else:
                time.sleep(delay)
                self.send_whole(request, key, text, calls)
        except OSError:  # the caller is gone: nobody reads this answer
            cut = True
            self.close_connection = True
        finally:
            stats.end(final=not calls, cut=cut)

    def send_whole(self, request, key, text, calls):
        message = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        self.send_json(
            200,
            {
                "id": "chatcmpl-" + key[:24],
                "object": "chat.completion",
                "created": int(time.time()),
                "model": request["model"],
                "choices": [choice],
                "usage": usage_of(request, text, calls),
            },
        )

    def stream(self, request, key, text, calls, delay):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        head = {
            "id": "chatcmpl-" + key[:24],
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": request["model"],
        }

        def event(value):
            data = value if isinstance(value, str) else json.dumps({**head, **value})
            line = f"data: {data}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

        pieces = list(deltas(text, calls))
        for delta in pieces:  # the thinking is spread over the answer: cutting it cuts a half
            event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            if delay:
                time.sleep(delay / len(pieces))
        reason = "tool_calls" if calls else "stop"
        event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if (request.get("stream_options") or {}).get("include_usage"):
            event({"choices": [], "usage": usage_of(request, text, calls)})
        event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address, delay):
        super().__init__(address, Handler)
        self.delay = delay
        self.stats = Stats()


def main():
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible model.")
    parser.add_argument("--listen", default="127.0.0.1:8081", metavar="HOST:PORT", help="port 0: any free port")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="thinking time of each answer")
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    server = Server((host, int(port)), options.delay)
    print(f"model: http://{host}:{server.server_port}/v1", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
