"""Each dialect of models from end to end: the same agent, the same script, the same rows."""

import json
from itertools import permutations

import pytest

from model import Reply, Say, Status, Streamed

# Of a request: what grows.
HISTORY = {"openai_chat": "messages", "openai_responses": "input", "anthropic": "messages"}
DIALECTS = list(HISTORY)
LOOK = {"look": {"read_only": True}, "find": {"read_only": True}}


class Thinks(Streamed):
    """Thoughts, words, and two calls at once, their arguments interleaved."""

    def deltas(self, ask):
        yield {"reasoning_content": "Two at "}
        yield {"reasoning_content": "once."}
        yield {"content": f"Round {ask.step}."}
        for index, name in enumerate(LOOK):
            yield {"tool_calls": [{"index": index, "id": f"call_{ask.step}_{name}", "type": "function",
                                   "function": {"name": name, "arguments": '{"n"'}}]}
        for index in range(len(LOOK)):
            yield {"tool_calls": [{"index": index, "function": {"arguments": f": {ask.step}}}"}}]}

    def reason(self):
        return "tool_calls"


class By(Reply):
    """Answers with what stands under the dialect that is spoken."""

    def __init__(self, **replies):
        super().__init__()
        self.replies = replies

    def serve(self, handler, ask):
        return self.replies[ask.dialect.name].serve(handler, ask)


def stored(running, run):
    """What is stored of a run, without what only its provider understands."""
    return running.sql("SELECT step, index, version, type::text, content, call_id, tool, arguments, refused, "
                       "tokens_in, tokens_out FROM pawl.agent_step_content WHERE run_id = %s "
                       "ORDER BY step, index, version", run.id)


def test_the_same_agent_leaves_the_same_rows(running):
    """Two rounds with parallel calls and thoughts, then the answer."""
    rows = {}
    for dialect in DIALECTS:
        running.publish(tools=LOOK, model={"dialect": dialect})
        running.model.script(Thinks(), Thinks(), Say("done"))
        run = running.run().wait()
        assert run.answer() == "done"
        rows[dialect] = stored(running, run)
        raws = running.sql("SELECT raw FROM pawl.agent_step_content WHERE run_id = %s AND raw IS NOT NULL", run.id)
        assert len(raws) == 3
    assert [row["type"] for row in rows["openai_chat"]] == [
        *["reasoning", "text", "function_call", "function_call"] * 2, "text"]
    for dialect in DIALECTS:
        assert rows[dialect] == rows["openai_chat"]
    assert len(running.tools.executions("look")) == len(running.tools.executions("find")) == 2 * len(DIALECTS)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_request_is_the_last_one_and_what_is_new(running, dialect):
    running.publish(tools=LOOK, model={"dialect": dialect})
    running.model.script(Thinks(), Thinks(), Say("done"))
    running.run().wait()
    asks = running.model.asks
    assert len(asks) == 3
    for before, after in zip(asks, asks[1:]):
        old, new = (dict(ask.body) for ask in (before, after))
        history = [body.pop(HISTORY[dialect]) for body in (old, new)]
        assert unmarked(history[1])[:len(history[0])] == unmarked(history[0])
        assert old == new
        assert set(after.results()) - set(before.results()) == {f"call_{before.step}_{name}" for name in LOOK}


def unmarked(history):
    """Without the marker for the provider's cache, which moves on to the last block."""
    return json.loads(json.dumps(history).replace(', "cache_control": {"type": "ephemeral"}', ""))


def test_blocks_go_back_as_they_came(running):
    """With the signed thought in front of the calls that it led to; all results in one message, marked for the cache."""
    running.publish(tools=LOOK, model={"dialect": "anthropic"})
    running.model.script(Thinks(), Say("done"))
    running.run().wait()
    body = running.model.asked(2)[0].body
    marker = {"cache_control": {"type": "ephemeral"}}
    assert body["max_tokens"] == 8192 and body["stream"] is True
    assert body["system"] == [{"type": "text", "text": "Do it.", **marker}]
    assert body["tools"] == [{"name": name, "description": f"Does {name}.", "input_schema": {"type": "object"}, **more}
                             for name, more in zip(sorted(LOOK), ({}, marker))]
    question, turn, results = body["messages"]
    assert question == {"role": "user", "content": [{"type": "text", "text": "go"}]}
    assert turn == {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "Two at once.", "signature": "EqQB1=="}, {"type": "text", "text": "Round 1."},
        *({"type": "tool_use", "id": f"call_1_{name}", "name": name, "input": {"n": 1}} for name in LOOK)]}
    assert results["role"] == "user"
    assert [(block["type"], block["tool_use_id"]) for block in results["content"]] == [
        ("tool_result", f"call_1_{name}") for name in LOOK]
    assert [block.get("cache_control") for block in results["content"]] == [None, marker["cache_control"]]


class Pauses(Say):
    """In the middle of its turn."""

    def reason(self):
        return "pause"


def test_a_model_that_pauses_goes_on_at_once(running):
    running.publish(model={"dialect": "anthropic"})
    running.model.script(Pauses("Let me look."), Say("done"))
    run = running.run().wait()
    assert run.answer() == "done"
    assert [row["content"] for row in stored(running, run)] == ["Let me look.", "done"]
    assert running.model.asked(2)[0].body["messages"][1:] == [
        {"role": "assistant", "content": [{"type": "text", "text": "Let me look."}]}]
    assert run.row()["model_calls"] == 2


def test_output_items_go_back_as_they_came(running):
    """With the encrypted thoughts in front of the calls that they led to."""
    running.publish(tools=LOOK, model={"dialect": "openai_responses"})
    running.model.script(Thinks(), Say("done"))
    run = running.run().wait()
    body = running.model.asked(2)[0].body
    assert body["store"] is False and body["include"] == ["reasoning.encrypted_content"]
    assert body["prompt_cache_key"] == run.id
    assert {"type": "function", "name": "look", "description": "Does look.", "parameters": {"type": "object"},
            "strict": False} in body["tools"]
    thought, words, *calls = body["input"][1:5]
    assert thought == {"id": "reasoning_1_0", "type": "reasoning", "status": "completed",
                       "summary": [{"type": "summary_text", "text": "Two at once."}], "encrypted_content": "gAAAA1=="}
    assert words == {"id": "message_1_1", "type": "message", "role": "assistant", "status": "completed",
                     "content": [{"type": "output_text", "text": "Round 1."}]}
    assert calls == [{"id": f"function_call_1_{at}", "type": "function_call", "call_id": f"call_1_{name}", "name": name,
                      "arguments": '{"n": 1}', "status": "completed"} for at, name in enumerate(LOOK, 2)]
    assert [(item["type"], item["call_id"]) for item in body["input"][5:]] == [
        ("function_call_output", f"call_1_{name}") for name in LOOK]


@pytest.mark.parametrize("first, then", permutations(DIALECTS, 2))
def test_a_run_goes_on_in_another_dialect(running, first, then):
    """The other model reads what was said and done before, without what only the first one understands."""
    running.publish(tools=LOOK, model={"dialect": first}, agent={"fallback": {"models": ["other"], "after": 1}},
                    more_models={"other": {"dialect": then, "model": "o"}})
    running.model.script(Thinks(), By(**{first: Status(500), then: Thinks()}), By(**{first: Status(500), then: Say("done")}))
    run = running.run().wait()
    assert run.answer() == "done"
    told = [ask for ask in running.model.asked(3) if ask.dialect.name == then][-1]
    if then == "anthropic":  # it wants ids of its own letters, and each but once in a run
        calls = [block["id"] for message in told.body["messages"] if message["role"] == "assistant"
                 for block in message["content"] if block["type"] == "tool_use"]
        assert calls == list(told.results()) and len(set(calls)) == 4
    else:
        assert set(told.results()) == {f"call_{step}_{name}" for step in (1, 2) for name in LOOK}
    text = json.dumps(told.body)
    assert "Round 1." in text and "Round 2." in text
    assert ("gAAAA1==" in text, "gAAAA2==" in text) == (False, then == "openai_responses")
    assert ("EqQB1==" in text, "EqQB2==" in text) == (False, then == "anthropic")
