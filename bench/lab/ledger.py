"""The judge of chaos: a model and a tool that note everything they are asked, in a process that nobody kills.

The model is scripted: a run of S steps with K calls a step, then the answer. Which run asks stands in its first
message ("chaos run 17"), which step in the number of plans that it is shown. It takes its time, and looks whether
what it is shown is whole: every plan as it was given, and a result for every call.

The tool does something that must not be done twice: it notes the call at once, then takes its time to answer.
Nothing is de-duplicated here; it counts.
"""

import asyncio
import json
import random
import re
import threading
import time

RUN = re.compile(r"chaos run (\d+)")


class Ask:
    """The model was asked for a step."""

    def __init__(self, run, step):
        self.run, self.step = run, step
        self.at = time.time()
        self.answered_at = None


class Execution:
    """The tool did something."""

    def __init__(self, call, key):
        self.call, self.key = call, key  # (run, step, index)
        self.at = time.time()
        self.answered_at = None


class Ledger:
    def __init__(self, seed, steps=8, calls=2, model_s=(0.2, 2.0), tool_s=(0.1, 1.0)):
        self.seed, self.steps, self.calls, self.model_s, self.tool_s = seed, steps, calls, model_s, tool_s
        self.asks, self.executions, self.flaws = [], [], []
        self.loop = asyncio.new_event_loop()
        self.port = None
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        self.ready.wait(10)

    def serve(self):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self.connection, "127.0.0.1", 0, limit=1 << 20, backlog=512))
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        self.loop.run_forever()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def last_at(self):
        """When something was done last."""
        return max([entry.at for entry in (*self.asks[-1:], *self.executions[-1:])], default=None)

    # --- HTTP, as much of it as our two clients speak -------------------------------------------

    async def connection(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                path = head[0].split(" ")[1]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                if headers.get("expect", "").lower() == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.readexactly(int(headers.get("content-length") or 0))
                if path.endswith("/chat/completions"):
                    await self.think(json.loads(body), writer)
                else:
                    await self.act(json.loads(body), headers, writer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # the caller has gone: it may have been killed
        finally:
            writer.close()

    def delay(self, bounds, *what):
        """The same for the same call, whatever happens around it."""
        return random.Random(f"{self.seed} {what}").uniform(*bounds)

    # --- the model ------------------------------------------------------------------------------

    async def think(self, body, writer):
        messages = body["messages"]
        run = next(int(found.group(1)) for m in messages if m["role"] == "user" for found in [RUN.search(str(m["content"]))] if found)
        step = 1 + sum(1 for m in messages if m["role"] == "assistant")
        ask = Ask(run, step)
        self.asks.append(ask)
        self.look_through(run, step, messages)
        seconds = self.delay(self.model_s, "model", run, step)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(seconds / 2)
        self.event(writer, {"role": "assistant"})
        await writer.drain()
        await asyncio.sleep(seconds / 2)
        if step > self.steps:
            self.event(writer, {"content": f"run {run} is done"})
            self.event(writer, {}, "stop")
        else:
            calls = [self.planned(run, step, index) for index in range(self.calls)]
            self.event(writer, {"tool_calls": [{"index": index, **call} for index, call in enumerate(calls)]})
            self.event(writer, {}, "tool_calls")
        data = b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
        await writer.drain()
        ask.answered_at = time.time()

    @staticmethod
    def planned(run, step, index):
        arguments = json.dumps({"run": run, "step": step, "call": index})
        return {"id": f"call_{step}_{index}", "type": "function", "function": {"name": "act", "arguments": arguments}}

    @staticmethod
    def event(writer, delta, reason=None):
        value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "chaos",
                 "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        data = b"data: " + json.dumps(value).encode() + b"\n\n"
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def look_through(self, run, step, messages):
        """What the model is shown: all plans as they were given, a result for each call and no other."""
        expected = [f"call_{s}_{index}" for s in range(1, step) for index in range(self.calls)]
        planned = [call["id"] for m in messages if m["role"] == "assistant" for call in m.get("tool_calls") or []]
        results = [m["tool_call_id"] for m in messages if m["role"] == "tool"]
        if planned != expected or sorted(results) != sorted(expected):
            self.flaws.append(f"run {run} step {step}: plans {planned}, results {results}")

    # --- the tool -------------------------------------------------------------------------------

    async def act(self, arguments, headers, writer):
        call = (arguments["run"], arguments["step"], arguments["call"])
        execution = Execution(call, (headers.get("idempotency-key") or "").strip('"'))
        self.executions.append(execution)
        await asyncio.sleep(self.delay(self.tool_s, "tool", *call))
        body = json.dumps({"receipt": len(self.executions), "key": execution.key}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        execution.answered_at = time.time()
