"""Attacks in the stream of a model, by name; what any HTTP answer may do stands in hostile_answers.py."""

import json

from hostile_answers import PIECE, head, huge

STREAMS = {}
STREAM_HEAD = ("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n").encode()
DONE = b"data: [DONE]\n\n"


def attack(function):
    STREAMS[function.__name__] = lambda peer: (peer.send(STREAM_HEAD), function(peer))[1]
    return function


def event(value):
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def delta(finish=None, usage=None, **fields):
    chunk = {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}
    return event(chunk if usage is None else {**chunk, "usage": usage})


def call(index, name="good", arguments="{}", **more):
    return {"index": index, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def stream(name, *events, first=None):
    """A whole stream; with `first`, that is the first step's, and the others say "done"."""

    def send(peer):
        later = b'"role": "assistant"' in peer.body or b'"role":"assistant"' in peer.body
        chosen = events if first is None or later else first
        peer.send(STREAM_HEAD, *chosen, delta("stop"), DONE)

    STREAMS[name] = send


def calls(name, *pieces):
    """A first step that asks for these calls, one piece after the other; then an answer."""
    stream(name, delta(content="done"),
           first=[*(delta(tool_calls=[piece]) for piece in pieces), delta("tool_calls")])


# --- without end --------------------------------------------------------------------------------


@attack
def line_without_end(peer):
    peer.send("data: ")
    peer.for_ever(PIECE)


@attack
def comments_without_end(peer):
    peer.for_ever(b": still thinking\n\n" * 4000)


@attack
def drips_comments(peer):
    peer.for_ever(lambda: peer.pause(0.2) or b": still thinking\n\n")


@attack
def small_events_without_end(peer):
    peer.for_ever(event({}) * 4000)


@attack
def text_without_end(peer):
    peer.for_ever(delta(content="x" * 1000) * 64)


@attack
def one_letter_a_time_without_end(peer):
    peer.for_ever(delta(content="x") * 500)


@attack
def reasoning_without_end(peer):
    peer.for_ever(delta(reasoning_content="hm " * 300) * 64)


@attack
def arguments_without_end(peer):
    peer.send(delta(tool_calls=[call(0, arguments='{"n": "')]))
    peer.for_ever(delta(tool_calls=[{"index": 0, "function": {"arguments": "a" * 1000}}]) * 64)


@attack
def calls_without_end(peer):
    peer.send(*(delta(tool_calls=[call(n, id=f"c{n}")]) for n in range(20000)))
    peer.wait()


@attack
def fields_without_end(peer):
    peer.send(*(delta(**{f"field_{n}": n}) for n in range(20000)))
    peer.wait()


@attack
def the_same_many_fields(peer):
    """Fields that exist already cost no memory, only the search for them."""
    peer.for_ever(delta(**{f"f{n}": "" for n in range(1000)}))


@attack
def event_names_without_end(peer):
    peer.send("event: ")
    peer.for_ever(PIECE)


@attack
def after_the_end(peer):
    peer.send(delta("stop", content="done"), DONE)
    peer.for_ever(PIECE)


def whole(name, *pieces, then=None):
    def send(peer):
        peer.send(head("Connection: close"), *pieces)
        if then:
            then(peer)

    STREAMS[name] = send


whole("one_object_without_end", b'{"choices": [{"message": {"content": "', then=huge)
whole("object_of_nothing", b'{"choices": [[], {}, null, 7]}')
whole("object_of_odd_types", json.dumps({"choices": [{"message": {"content": {"a": 1}, "tool_calls": "none"},
                                                      "finish_reason": 7}], "usage": []}).encode())
whole("calls_that_are_none", json.dumps({"choices": [{"message": {"tool_calls": [1, None, "x"]}}]}).encode())

# --- strange --------------------------------------------------------------------------------------

stream("empty_stream")
stream("nothing_but_odd_events", *(event(v) for v in (None, 7, "x", [], [[]], {"choices": 3}, {"choices": [3]})))
stream("deep_event", event(b'{"choices":' + b"[" * 100000 + b"]" * 100000 + b"}"))
stream("deep_delta", event(b'{"choices":[{"delta":{"x":' + b"[" * 40 + b"]" * 40 + b"}}]}"), delta(content="done"))
stream("dense_event", event(b'{"choices":[{"delta":{"x":[' + b"{}," * 1300000 + b"1]}}]}"))
stream("dense_array_of_choices", event(b'{"choices":[' + b"{}," * 1300000 + b"1]}"))
stream("doubled_keys", event(b'{"choices":[{"index":0,"index":0,"delta":{"content":"x"}}]}'))
stream("not_utf8_event", event(b'{"choices":[{"delta":{"content":"\xff\xfe"}}]}'))
stream("nul_byte_event", event(b'{"choices":[{"delta":{"content":"a\0b"}}]}'))
stream("lone_surrogate_event", event(b'{"choices":[{"delta":{"content":"\\ud800"}}]}'))
stream("nul_in_text", delta(content="a\0b"))
stream("number_beyond_all", event(b'{"choices":[],"usage":{"prompt_tokens":1e999}}'))
stream("usage_that_is_no_number", event(b'{"choices":[],"usage":{"prompt_tokens":NaN}}'))
stream("finish_in_many_words", delta("w" * 100000, content="done"))
stream("error_of_a_megabyte", event({"error": {"message": "e" * 60000, "code": "x" * 1000, "type": "\0"}}))

HUGE = {"prompt_tokens": (1 << 63) - 1, "completion_tokens": (1 << 63) - 1, "total_tokens": -1}
stream("usage_of_all_tokens", delta(content="done", usage=HUGE),
       first=[delta(tool_calls=[call(0)], usage=HUGE), delta("tool_calls")])
stream("usage_below_nothing", delta(content="done", usage={"prompt_tokens": -5, "completion_tokens": -(1 << 62)}))
stream("usage_of_odd_types", delta(content="done", usage={"prompt_tokens": "7", "completion_tokens": 2.5,
                                                          "prompt_tokens_details": [1]}))
calls("indexes_beyond_all", call(1 << 31), call(-1), call((1 << 63) - 1), call(-(1 << 63)))
calls("indexes_that_are_none", call("one"), call(1e308), call(None, id="x"), call([], id="y"))
calls("doubled_ids", call(0, id="same"), call(1, id="same"), call(2, id="same"))
calls("ids_that_are_none", call(0, id=""), call(1, id=7), call(2, id="a\0b"), call(3, id="x" * 10000))
calls("names_that_are_none", call(0, name=""), call(1, name=7), call(2, name="a\0b"), call(3, name="n" * 10000),
      {"index": 4}, {"index": 5, "function": "good"}, {"index": 6, "function": {}})
calls("arguments_that_are_none", call(0, arguments="["), call(1, arguments=""), call(2, arguments='{"a":"\\u0000"}'),
      call(3, arguments="{}{}"), call(4, arguments='{"a":1,"a":2}'), call(5, arguments="\0"),
      call(6, arguments="[" * 10000), call(7, arguments={"a": 1}))
