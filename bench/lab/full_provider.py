#!/usr/bin/python3
"""A provider that is out of capacity: tells each conversation once to come back later, and keeps a ledger.

    full_provider.py PORT SECONDS

    POST /v1/chat/completions   the first call of a conversation gets 429 with Retry-After: SECONDS, all
                                later ones get their answer; a conversation is known by what the user said
    GET  /ledger                {conversation: [seconds at which each of its calls came]}, on one clock
"""

import asyncio
import json
import sys
import time

ANSWER = {"object": "chat.completion", "usage": {"prompt_tokens": 100, "completion_tokens": 10},
          "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "done"}}]}


class Provider:
    def __init__(self, seconds):
        self.later = self.reply("429 Too Many Requests", {"error": {"message": "come back later"}}, f"Retry-After: {seconds}\r\n")
        self.answer = self.reply("200 OK", ANSWER)
        self.ledger = {}

    @staticmethod
    def reply(status, body, headers=""):
        text = json.dumps(body).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(text)}\r\n\r\n"
        return head.encode() + text

    def serve(self, head, body):
        if head.startswith(b"GET /ledger "):
            return self.reply("200 OK", self.ledger)
        calls = self.ledger.setdefault(json.loads(body)["messages"][-1]["content"], [])
        calls.append(time.monotonic())
        return self.later if len(calls) == 1 else self.answer


class Talk(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self, provider):
        self.provider, self.got = provider, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.got += data
        while (end := self.got.find(b"\r\n\r\n") + 4) >= 4:
            head = self.got[:end]
            found = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            whole = end + (int(found[0].partition(b":")[2]) if found else 0)
            if len(self.got) < whole:
                return
            self.transport.write(self.provider.serve(head, self.got[end:whole]))
            self.got = self.got[whole:]


async def main():
    provider = Provider(int(sys.argv[2]))
    server = await asyncio.get_running_loop().create_server(lambda: Talk(provider), "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
