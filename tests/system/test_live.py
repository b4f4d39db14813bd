"""Live tokens: who reads the stream topic has, without looking at Postgres, what the model said."""

import threading

import pytest

from live_reader import LiveReader
from model import Cut, Say, Streamed
from waiting import wait_until

pytestmark = pytest.mark.beside


class Think(Streamed):
    """Reasoning and text in small pieces, then a call."""

    def deltas(self, ask):
        for word in ("Was ", "w\u00e4re, ", "wenn?"):
            yield {"reasoning_content": word}
        for word in ("Ich ", "schaue ", "nach: \U0001f40e"):
            yield {"content": word}
        yield {"tool_calls": [{"index": 0, "id": "c", "type": "function",
                               "function": {"name": "look", "arguments": "{}"}}]}

    def reason(self):
        return "tool_calls"


def ready(stack, planners=1, **env):
    stack.kafka.start()
    for slot in range(planners):
        stack.planner(slot + 1, PAWL_KAFKA_TOPICS_STREAM=stack.kafka.stream, **env)
    stack.executor()
    stack.wait_alive(planners + 1)
    stack.publish(tools={"look": {"read_only": True}})


def read(stack, run):
    return LiveReader(run.id).read(stack.kafka.consume(stack.kafka.stream))


def stored(stack, run, step):
    """The step's words, of the version that counts."""
    rows = stack.sql("SELECT index, type, content FROM pawl.agent_step_content c WHERE run_id = %s AND step = %s "
                     "AND type IN ('text', 'reasoning') AND version = (SELECT max(version) FROM "
                     "pawl.agent_step_content m WHERE m.run_id = c.run_id AND m.step = c.step) ORDER BY index", run.id, step)
    return [(row["index"], row["type"], row["content"]) for row in rows]


def ended(stack, run, *steps):
    """The reader, once it has read the ends of these steps."""
    def reached():
        reader = read(stack, run)
        done = all(step in reader.steps and reader.steps[step].outcome == "committed" for step in steps)
        return reader if done else None

    return wait_until(reached, f"the ends of steps {steps} are on the topic", pause=0.2, watch=stack.check)


def test_what_the_stream_says_is_what_is_stored(stack):
    ready(stack)
    long = "".join(f"{number} Sch\u00e4fchen, " for number in range(5000))
    stack.model.script(Think(), Say(long))
    run = stack.run("go").wait()
    reader = ended(stack, run, 1, 2)
    for step in (1, 2):
        assert not reader.steps[step].gap
        assert reader.said(step) == stored(stack, run, step)
    assert [kind for _, kind, _ in reader.said(1)] == ["reasoning", "text"]
    assert reader.said(2)[0][2] == long


def test_a_piece_is_there_while_the_model_still_speaks(stack):
    ready(stack)
    goes_on = threading.Event()
    stack.model.script(Say("first half and second half", pause=goes_on))
    run = stack.run("go")
    reader = wait_until(lambda: r if (r := read(stack, run)).steps else None, "a piece is on the topic", pause=0.2,
                        watch=stack.check)
    assert reader.said(1) == [(0, "text", "first half an")]
    assert reader.steps[1].outcome is None
    goes_on.set()
    run.wait()
    assert ended(stack, run, 1).said(1) == [(0, "text", "first half and second half")]


def test_an_attempt_that_failed_is_dropped(stack):
    ready(stack)
    stack.model.script([Cut(), Say("the whole answer")])
    run = stack.run("go").wait()
    reader = ended(stack, run, 1)
    assert reader.said(1) == [(0, "text", "the whole answer")]
    assert [(a.outcome, a.items) for a in reader.replaced] == [("dropped", {(0, "text"): b"half an ans"})]


def test_an_attempt_whose_planner_was_killed_is_replaced(stack):
    ready(stack)
    stack.model.script([Say("lost words, lost words", pause=threading.Event()), Say("words that stay")])
    run = stack.run("go")
    wait_until(lambda: read(stack, run).steps, "the first attempt is on the topic", pause=0.2, watch=stack.check)
    stack.processes["planner-1"].kill()
    stack.planner(1, PAWL_KAFKA_TOPICS_STREAM=stack.kafka.stream)
    run.wait()
    reader = ended(stack, run, 1)
    assert reader.said(1) == stored(stack, run, 1) == [(0, "text", "words that stay")]
    assert [a.items for a in reader.replaced] == [{(0, "text"): b"lost words,"}]
    assert reader.replaced[0].outcome is None  # nobody was there to say so


def test_without_the_setting_nothing_is_sent(stack):
    stack.up()
    stack.publish()
    stack.model.script(Say("quiet"))
    run = stack.run("go").wait()
    assert read(stack, run).steps == {}
    assert stack.metric("planner-1", "pawl_planner_live_pieces_total") == 0
