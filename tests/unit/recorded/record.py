#!/usr/bin/env python3
"""Records what a model server answers, as the files beside this script: one for each dialect and case.

    npm i @copilotkit/aimock@1.43.0              # in a directory of its own
    tests/unit/recorded/record.py DIRECTORY [DIALECT...]

The server is aimock, which speaks each dialect as the provider does (reasoning with its opaque part,
parallel calls, usage) and answers by `fixtures.json`. Ids and times differ with every recording; the
tests do not look at them. A name ends in .sse when a stream was asked for, in .json when it was not.
"""

import http.client
import json
import os
import pathlib
import subprocess
import sys
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ASK = "Weather in Paris and Ulm?"
TOOLS = ("weather", "rain")
CALLS = (("call_paris", "weather", '{"city":"Paris"}'), ("call_ulm", "weather", '{"city":"Ulm"}'))
CASES = {  # what is said first, and how many turns of the model came before
    "parallel": (ASK, 0), "again": (ASK, 1), "text": (ASK, 2), "broken": ("Broken call", 0),
    "length": ("Cut by the limit", 0), "cut": ("Breaks off", 0),
}
# In this dialect arguments are an object, so that aimock cannot say broken ones.
ANTHROPIC = {name: case for name, case in CASES.items() if name != "broken"} | {"sealed": ("Sealed thoughts", 0)}


def schema(name):
    return {"name": name, "description": name, "parameters": {"type": "object", "properties": {}}}


def openai_chat(user, turns, stream):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": user}]
    for _ in range(turns):
        messages.append({"role": "assistant", "content": None, "tool_calls": [
            {"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in CALLS]})
        messages += [{"role": "tool", "tool_call_id": i, "content": "dry"} for i, _, _ in CALLS]
    body = {"model": "gpt-5", "messages": messages,
            "tools": [{"type": "function", "function": schema(name)} for name in TOOLS]}
    return body | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {})


def openai_responses(user, turns, stream):
    items = [{"role": "user", "content": user}]
    for turn in range(turns):
        items.append({"type": "message", "role": "assistant",
                      "content": [{"type": "output_text", "text": f"turn {turn}", "annotations": []}]})
    return {"model": "gpt-5", "instructions": "Be brief.", "input": items, "store": False, "stream": stream,
            "include": ["reasoning.encrypted_content"],
            "tools": [{"type": "function", **schema(name)} for name in TOOLS]}


def anthropic(user, turns, stream):
    messages = [{"role": "user", "content": user}]
    for _ in range(turns):
        messages.append({"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmF0dXJl"},
            *({"type": "tool_use", "id": i, "name": n, "input": json.loads(a)} for i, n, a in CALLS)]})
        messages.append({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": i, "content": "dry"} for i, _, _ in CALLS]})
    tools = [{"name": name, "description": name, "input_schema": {"type": "object"}} for name in TOOLS]
    return {"model": "claude-sonnet-4-5", "max_tokens": 4096, "system": "Be brief.", "messages": messages,
            "thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": tools, "stream": stream}


DIALECTS = {"anthropic": ("/v1/messages", anthropic),
            "openai_chat": ("/v1/chat/completions", openai_chat),
            "openai_responses": ("/v1/responses", openai_responses)}


def ask(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    answer = b""
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            while byte := reply.read(1):
                answer += byte
    except (http.client.HTTPException, OSError) as error:
        print(f"  broke off after {len(answer)} bytes: {error}")
    return answer


def record(url, dialect):
    path, make = DIALECTS[dialect]
    directory = HERE / dialect
    directory.mkdir(exist_ok=True)
    for case, (user, turns) in (ANTHROPIC if dialect == "anthropic" else CASES).items():
        (directory / f"{case}.sse").write_bytes(ask(url + path, make(user, turns, True)))
    (directory / "parallel.json").write_bytes(ask(url + path, make(ASK, 0, False)))
    print(dialect, *(f"{file.name}:{file.stat().st_size}" for file in sorted(directory.iterdir())))


def main():
    command = ["node", f"{sys.argv[1]}/node_modules/@copilotkit/aimock/dist/cli.js", "-p", "4972",
               "-f", str(HERE / "fixtures.json"), "-c", "17", "-l", "5"]
    strict = os.environ | {"AIMOCK_STRICT_TURN_INDEX": "1"}
    with subprocess.Popen(command, env=strict, stdout=subprocess.PIPE, text=True) as server:
        try:
            while "listening" not in server.stdout.readline():
                if server.poll() is not None:
                    sys.exit("aimock did not start")
            for dialect in sys.argv[2:] or DIALECTS:
                record("http://127.0.0.1:4972", dialect)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
