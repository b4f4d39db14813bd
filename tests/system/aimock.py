"""A counterpart that is not ours: aimock, from the npm registry, speaks the dialects of model providers
and keeps a journal of every request.

    aimock = Aimock(directory).start([fixture(CALLS, turn=0), fixture(ANSWER, turn=1)])
    stack.publish(model=aimock.model("anthropic"))
    ...
    aimock.journal()        # [Entry]: one for each request that it got

What is answered depends on the request alone, but for fixtures with `nth`, which serve once. It refuses
what no fixture answers (503), and thinking that does not come back with its signature (400).
"""

import json
import subprocess
import urllib.request

import pytest

from cluster import free_port
from processes import Process
from stack import ROOT
from waiting import wait_until

LOCAL = ROOT / "tests/aimock/aimock-local"

# Each dialect of pawl that aimock speaks too: what is published for it. aimock tells by the name of a
# model whether it reasons.
DIALECTS = {
    "openai_chat": {"model": "o4-mini"},
    "openai_responses": {"model": "o4-mini"},
    "anthropic": {"model": "claude-sonnet-4-5", "options": {"thinking": {"type": "enabled", "budget_tokens": 1024}}},
}


def need(stack, dialect):
    """Skips the test where the build does not know the dialect."""
    probe = {"models": {"m": {"dialect": dialect, "base_url": "http://127.0.0.1:1/v1", "model": "m"}}}
    path = stack.directory / "probe.yaml"
    path.write_text(json.dumps(probe))
    done = stack.pawl("config", "check", path, check=False)
    if done.returncode != 0:
        assert "'dialect'" in done.stderr, done.stderr
        pytest.skip(f"this build does not know the dialect {dialect}: {done.stderr.strip()}")


def fetch():
    """Skips the test where aimock cannot be had."""
    done = subprocess.run([LOCAL, "fetch"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout


def fixture(response, task=None, after=None, words=None, nth=None, model=None, **how):
    """An answer. task: words of the user's; after: the id of the call whose result comes last, or False:
    before all results; words: in that result; nth: serves only then, counted from 0; model: the provider's
    name of it. `how` is aimock's: chaos, latency, ..."""
    match = {"userMessage": task, "toolResultContains": words, "sequenceIndex": nth, "model": model}
    match |= {"hasToolResult": False} if after is False else {"toolCallId": after}
    return {"match": {name: value for name, value in match.items() if value is not None}, "response": response, **how}


def call(name, tool, **arguments):
    return {"id": name, "name": tool, "arguments": arguments}


def turn(text, thought, *calls):
    """What is said in one step; usage in the words of all dialects."""
    tokens = {"prompt_tokens": 110, "completion_tokens": 17, "input_tokens": 110, "output_tokens": 17}
    response = {"content": text, "reasoning": thought, "reasoningSignature": "c2lnbmVk", "usage": tokens}
    return {**response, "toolCalls": list(calls)} if calls else response


def failing(status, message="not now", **more):
    """An answer with an error status."""
    return {"error": {"message": message, "type": "overloaded_error"}, "status": status, **more}


def said(entry):
    """What the provider was told, in one form for all dialects; ids, which some dialects change, only tell
    which call a result belongs to."""
    parts, calls = [], {}
    for message in entry.messages:
        if message["role"] == "tool":
            parts.append(("result of", calls[message["tool_call_id"]]))
        elif message["content"]:
            parts.append((message["role"], message["content"]))
        for each in message.get("tool_calls") or ():
            calls[each["id"]] = each["function"]["name"] + each["function"]["arguments"]
            parts.append(("call", calls[each["id"]]))
    return parts


class Entry:
    """One request, as aimock saw it."""

    def __init__(self, entry):
        self.at = entry["timestamp"] / 1000
        self.path = entry["path"]
        self.response = entry["response"]
        self.status = self.response["status"]
        body = entry["body"] or {}
        self.messages = body.get("messages", [])  # in one form for all dialects
        self.model = body.get("model")
        users = [message for message in self.messages if message["role"] == "user"]
        self.task = users[0]["content"] if users else None
        last = self.messages[-1] if self.messages else {}
        self.after = last.get("tool_call_id", False)  # the call whose result came last

    @property
    def fixture(self):
        return self.response["fixture"] or {}


class Aimock:
    def __init__(self, directory):
        fetch()
        self.fixtures = directory / "fixtures.json"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        words = [LOCAL, "run", "--port", port, "--fixtures", self.fixtures, "--strict", "--journal-max", 0, "--log-level", "warn"]
        self.process = Process("aimock", words, directory / "aimock.log")

    def start(self, fixtures=None):
        """Once more: with the same fixtures, at the same address."""
        if fixtures:
            self.fixtures.write_text(json.dumps({"fixtures": fixtures}))
        self.process.start()
        wait_until(self.listens, "aimock listens", watch=self.process.check)
        return self

    def listens(self):
        try:
            return self.get("/__aimock/health")
        except OSError:
            return None

    def stop(self):
        if self.process.process:
            self.process.kill()

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def journal(self):
        return [Entry(entry) for entry in self.get("/__aimock/journal")]

    def count(self):
        """How many requests it got."""
        with urllib.request.urlopen(self.url + "/__aimock/journal?limit=0", timeout=30) as answer:
            return int(answer.headers["X-Total-Count"])

    def model(self, dialect, **more):
        """The definition of a model that is asked here."""
        return {"dialect": dialect, "base_url": f"{self.url}/v1", **DIALECTS[dialect], **more}
