"""The planner as a process: what it sends to models, its limits, its end, and what kills it."""

import json
import threading
import time

from infra import takes_long
from model import Call, Hang, Reply, Say, Status, Streamed
from waiting import stays, wait_until


class By(Reply):
    """Answers with what a function of the request chooses."""

    def __init__(self, choose):
        super().__init__()
        self.choose = choose

    def serve(self, handler, ask):
        return self.choose(ask).serve(handler, ask)


class Strange(Streamed):
    """A call with fields that only the provider understands, and reasoning beside it."""

    def deltas(self, ask):
        yield {"content": None, "reasoning_content": "hm, "}
        yield {"reasoning_content": "yes"}
        yield {"tool_calls": [{"index": 2, "id": "odd", "type": "function",
                               "extra_content": {"google": {"thought_signature": "CsQB=="}},
                               "function": {"name": "look", "arguments": '{"n'}}]}
        yield {"tool_calls": [{"index": 2, "function": {"arguments": '":1}'}}]}

    def reason(self):
        return "tool_calls"


class Length(Call):
    """Cut in the middle of its calls, at the limit of tokens."""

    def reason(self):
        return "length"


class Whole(Reply):
    """One JSON object, although a stream was asked for."""

    def serve(self, handler, ask):
        message = {"role": "assistant", "content": "not streamed"}
        handler.reply(200, json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                                       "usage": {"prompt_tokens": 3, "completion_tokens": 4}}))
        return True


def asked_for(ask):
    return next(m["content"] for m in ask.messages if m["role"] == "user")


def end_of(run):
    row = run.row()
    return row["status"], row["error_code"]


# --- what goes over the wire --------------------------------------------------------------------


def test_the_providers_message_goes_back_as_it_came(running):
    running.publish(tools={"look": {"read_only": True}})
    running.model.script(Strange(), Say("done"))
    run = running.run().wait()
    message = running.model.asked(2)[0].messages[2]
    assert message == {
        "role": "assistant", "content": None, "reasoning_content": "hm, yes",
        "tool_calls": [{"id": "odd", "type": "function",
                        "extra_content": {"google": {"thought_signature": "CsQB=="}},
                        "function": {"name": "look", "arguments": '{"n":1}'}}]}
    types = [row["type"] for row in running.sql("SELECT type FROM pawl.agent_step_content WHERE run_id = %s "
                                                "AND step = 1 ORDER BY index", run.id)]
    assert types == ["reasoning", "function_call"]


def test_each_prompt_is_the_last_one_and_what_is_new(running):
    running.publish(tools={"look": {"read_only": True}}, model={"options": {"temperature": 0.2}})
    running.model.script(*[Call(("look", {"n": n}), ("look", {"n": -n})) for n in range(1, 7)], Say("done"))
    running.run("go").wait()
    asks = sorted(running.model.asks, key=lambda ask: ask.step)
    assert [ask.step for ask in asks] == list(range(1, 8))
    for before, after in zip(asks, asks[1:]):
        assert after.messages[: len(before.messages)] == before.messages
        assert len(after.messages) == len(before.messages) + 3
    body = asks[0].body
    assert body["stream"] is True and body["stream_options"] == {"include_usage": True}
    assert body["temperature"] == 0.2
    assert body["tools"][0]["function"]["name"] == "look"
    wait_until(lambda: running.metric("planner-1", "pawl_planner_history_hit_ratio") > 0,
               "the history was used", watch=running.check)


def test_usage_and_cost_are_counted(running):
    running.publish(model={"price": {"input": 2, "output": 10}})
    running.model.script(Whole())
    run = running.run().wait()
    row = run.row()
    assert (row["tokens_in"], row["tokens_out"], row["cost_micros"]) == (3, 4, 46)
    assert run.answer() == "not streamed"


def test_a_call_that_was_cut_is_not_made(running):
    running.publish(tools={"send": {}})
    running.model.script(Length(("send", {"n": 1}), ("send", '{"n": ')), Say("done"))
    running.run().wait()
    assert running.tools.ledger == []
    results = running.model.asked(2)[0].results()
    assert len(results) == 2
    assert all("cut" in text or "not a JSON object" in text for text in results.values())


def test_calls_over_the_limits_get_an_error_each(running):
    running.publish(tools={"send": {}}, agent={"limits": {"calls_per_step": 2, "arguments_bytes": "1KiB"}})
    running.model.script(Call(("send", {"n": 1}), ("send", {"n": "x" * 2000}), ("send", {"n": 3}), ("send", {"n": 4})),
                         Say("done"))
    running.run().wait()
    assert [e.arguments for e in running.tools.ledger] == [{"n": 1}]
    results = running.model.asked(2)[0].results()
    assert len(results) == 4
    assert "at most 1024" in results["call_1_1"]
    assert "at most 2 calls" in results["call_1_2"] and "at most 2 calls" in results["call_1_3"]


def test_a_step_with_nothing_but_refused_calls_goes_on_at_once(running):
    running.publish(tools={"send": {}})
    running.model.script(Call(("nobody", {}), ("send", "[1]")), Say("done"))
    started = time.monotonic()
    running.run().wait()
    assert time.monotonic() - started < 10
    assert running.tools.ledger == []
    assert "your tools: send" in running.model.asked(2)[0].results()["call_1_0"]


# --- models that fail -----------------------------------------------------------------------------


def test_waiting_for_a_model_holds_no_place(stack):
    stack.kafka.start()
    stack.planner(settings={"capacity": {"plans": 1}})
    stack.publish(model={"attempts": 9})
    slow = [Status(429, retry_after=3)]
    stack.model.script(By(lambda ask: slow.pop() if slow and asked_for(ask) == "slow" else Say("done")))
    first = stack.run("slow")
    wait_until(lambda: first.row()["failures"] == 1, "the model said 429", watch=stack.check)
    began = time.monotonic()
    stack.run("quick").wait()
    assert time.monotonic() - began < 3 and first.status == "running"
    first.wait()
    asks = [ask.at for ask in stack.model.asks if asked_for(ask) == "slow"]
    assert len(asks) == 2 and 2.9 < asks[1] - asks[0] < 8


def test_the_key_is_nowhere_to_be_seen(stack):
    secret = "sk-nobody-may-see-this"
    stack.kafka.start()
    stack.planner(secrets={"model_key": secret})
    stack.publish(model={"api_key": {"secret": "model_key"}, "attempts": 2})
    stack.model.script(Status(500, body=json.dumps({"error": {"message": f"bad key {secret} {secret}"}})),
                       Say("never"))
    run = stack.run().wait("failed")
    assert "bad key ***" in run.row()["error"]
    rows = [stack.sql(f"SELECT to_jsonb(t)::text AS row FROM pawl.{table} t") for table in
            ("agent_runs", "agent_step_content", "revisions", "announcements", "audit")]
    assert secret not in str(rows)
    assert secret not in stack.processes["planner-1"].text()
    assert secret not in stack.get("planner-1", "/metrics")[1]


def test_who_lacks_a_secret_leaves_the_run_to_others(stack):
    stack.kafka.start()
    stack.planner(1)
    stack.publish(model={"api_key": {"secret": "model_key"}})
    stack.model.script(Say("done"))
    run = stack.run()
    log = stack.processes["planner-1"]
    wait_until(lambda: "cannot call a model" in log.text(), "the planner says what it lacks", watch=stack.check)
    stays(lambda: run.status == "running", "the run waits for somebody who has the secret", 2)
    assert log.text().count("cannot call a model") == 1
    assert "model_key" in log.text()
    assert run.row()["failures"] == 0 and not stack.model.asks
    stack.planner(2, secrets={"model_key": "k"})
    run.wait(timeout=60)


# --- many runs, and the end of the process ------------------------------------------------------------


def test_capacity_bounds_what_is_in_flight(stack):
    stack.kafka.start()
    stack.planner(settings={"capacity": {"plans": 4}})
    stack.publish()
    lock, now, most = threading.Lock(), [0], [0]

    class Counted(Say):
        def serve(self, handler, ask):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.05)
            try:
                return super().serve(handler, ask)
            finally:
                with lock:
                    now[0] -= 1

    stack.model.script(Counted("done"))
    stack.wait_joined("planner-1")
    for n in range(40):
        stack.kafka.produce(stack.kafka.names["requests"],
                            json.dumps({"id": f"r{n}", "agent": "agent", "input": "go"}))
    wait_until(lambda: len([r for r in stack.runs() if r.status == "succeeded"]) == 40, "all have succeeded",
               timeout=90, pause=0.3, watch=stack.check)
    assert 2 <= most[0] <= 4


def test_a_planner_that_is_told_to_stop_finishes_its_model_call(stack):
    stack.up(planners=2)
    stack.publish()
    gate = threading.Event()
    stack.model.script(Say("done", pause=gate))
    run = stack.run()
    wait_until(lambda: stack.model.asked(1), "the model is asked", watch=stack.check)
    holder = stack.sql.value("SELECT w.instance FROM pawl.agent_runs r JOIN pawl.workers w "
                             "ON w.incarnation = r.claim_by WHERE r.run_id = %s", run.id)
    planner = stack.processes[holder.removeprefix("test/")]
    planner.terminate()
    stays(lambda: planner.running, "it waits for its model call", 1)
    gate.set()
    assert planner.wait_exit() == 0
    run.wait()
    assert len(stack.model.asks) == 1


def test_a_run_that_is_cancelled_and_retried_at_once(running):
    """The planner's claim of the old epoch is gone before anybody could tell it."""
    running.publish()
    running.model.script([Hang(), Say("done")])
    run = running.run()
    old = wait_until(lambda: running.model.asked(1), "the model is asked", watch=running.check)[0]
    running.pawl("run", "cancel", run.id)
    running.pawl("run", "retry", run.id)
    wait_until(lambda: run.status == "succeeded", "the new epoch ends", timeout=60, watch=running.check)
    assert run.row()["epoch"] == 2
    assert old.ended_at and not old.answered
    assert len(running.model.asks) == 2


# --- work that kills ----------------------------------------------------------------------------------


def test_a_step_that_kills_planners_ends(stack):
    """Each death costs one process; the third is the end of the run, and of nothing else."""
    stack.kafka.start()
    planner = stack.planner(start=False)
    stack.publish()
    stack.model.script(By(lambda ask: Say("done")))
    run = stack.run("poison")
    for _ in range(3):
        planner.start(PAWL_FAULT="planner_after_plan_claim")
        assert planner.wait_exit(timeout=60) == -9
    planner.start()
    run.wait("failed", timeout=60)
    assert end_of(run) == ("failed", "killed_workers")
    assert not stack.model.asks
    stack.run("fine").wait(timeout=60)


@takes_long
def test_a_request_that_kills_planners_becomes_a_dead_letter(stack):
    stack.kafka.start()
    planner = stack.planner(start=False)
    stack.publish()
    stack.model.script(Say("done"))
    stack.kafka.produce(stack.kafka.names["requests"], json.dumps({"id": "poison", "agent": "agent", "input": "go"}))
    deaths = 0
    while deaths < 8:
        planner.start(PAWL_FAULT="planner_after_consume")
        wait_until(lambda: not planner.running or stack.kafka.consume(stack.kafka.dlq), "it dies, or buries it",
                   timeout=60, pause=0.3)
        if planner.running:
            break
        planner.may_end = True
        deaths += 1
    assert 3 <= deaths <= 4
    letter = stack.kafka.consume(stack.kafka.dlq)[0]
    assert letter["headers"]["pawl_dlq_error_code"] == "killed_workers"
    assert json.loads(letter["payload"])["id"] == "poison"
    assert not stack.runs()
    planner.restart()
    stack.kafka.produce(stack.kafka.names["requests"], json.dumps({"id": "fine", "agent": "agent", "input": "go"}))
    wait_until(stack.runs, "the next request is a run", timeout=60, watch=stack.check)[0].wait()


# --- what people say to a run -----------------------------------------------------------------------


def users(ask):
    return [m["content"] for m in ask.messages if m["role"] == "user"]


def test_a_message_is_read_at_the_next_step(running):
    running.publish(tools={"look": {"read_only": True}})
    asked = threading.Event()
    running.model.script(Call(("look", {}), pause=asked), Say("done"))
    run = running.run("go")
    wait_until(lambda: running.model.asked(1), "the model is asked", watch=running.check)
    running.pawl("run", "send", run.id, "and hurry")
    asked.set()
    run.wait()
    first, second = running.model.asked(1)[0], running.model.asked(2)[0]
    assert users(first) == ["go"]
    assert [m["role"] for m in second.messages] == ["system", "user", "assistant", "tool", "user"]
    assert users(second) == ["go", "and hurry"]
    refused = running.pawl("run", "send", run.id, "too late", check=False)
    assert refused.returncode == 1 and "has ended (succeeded)" in refused.stderr


def test_an_answer_that_crosses_a_message_is_not_the_end(running):
    running.publish()
    goes_on = threading.Event()
    running.model.script(Say("the first answer", pause=goes_on), Say("the second answer"))
    run = running.run("go")
    wait_until(lambda: running.model.asked(1), "the model is asked", watch=running.check)
    running.pawl("run", "send", run.id, "one more thing")
    goes_on.set()
    run.wait()
    assert run.answer() == "the second answer"
    assert run.row()["step"] == 2
    last = running.model.asked(2)[0]
    assert [m["content"] for m in last.messages[1:]] == ["go", "the first answer", "one more thing"]
    shown = running.pawl("run", "show", run.id)
    assert "send at" in shown and "one more thing" in shown
