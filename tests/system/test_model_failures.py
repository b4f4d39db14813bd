"""Models that fail: others that are asked instead, and providers that are left alone."""

from infra import takes_long
from model import Call, Reply, Say, Status
from waiting import wait_until

FALLBACK = {"fallback": {"models": ["other"], "after": 1}}


class By(Reply):
    """Answers with what stands under the provider's name of the model that is asked."""

    def __init__(self, **replies):
        super().__init__()
        self.replies = replies

    def serve(self, handler, ask):
        return self.replies[ask.body["model"]].serve(handler, ask)


def two_models(running, **agent):
    """Two names of one server: two providers."""
    running.publish(tools={"look": {"read_only": True}}, agent={**FALLBACK, **agent},
                    more_models={"other": {"model": "o", "base_url": running.model.url.replace("127.0.0.1", "localhost") + "/v1"}})


def attempts(running, run):
    """(step, model, type) of what is stored first of each attempt."""
    rows = running.sql("SELECT step, model, type FROM pawl.agent_step_content WHERE run_id = %s AND index = 0 "
                       "ORDER BY step, version", run.id)
    return [(row["step"], row["model"], row["type"]) for row in rows]


def test_the_other_model_answers(running):
    two_models(running)
    running.model.script(By(m=Status(500), o=Call(("look", {}))), By(m=Say("done"), o=Say("never")))
    run = running.run().wait()
    assert run.answer() == "done"
    assert attempts(running, run) == [(1, "model", "error"), (1, "other", "function_call"), (2, "model", "text")]
    assert [ask.body["model"] for ask in running.model.asks] == ["m", "o", "m"]
    assert run.row()["model_calls"] == 3


def test_a_wrong_key_is_not_tried_again(running):
    two_models(running)
    running.model.script(By(m=Status(401), o=Say("done")))
    run = running.run().wait()
    assert attempts(running, run) == [(1, "model", "error"), (1, "other", "text")]


def test_a_dead_provider_is_left_alone_and_found_again(running):
    two_models(running)
    dead = {"m": Status(503), "o": Say("other")}
    running.model.script(By(**dead))
    is_open = lambda: running.metric("planner-1", "pawl_model_breaker_open")  # noqa: E731
    runs = 0
    while not is_open():
        running.run().wait()
        runs += 1
        assert runs <= 20
    before = len(running.model.asks)
    quick = running.run().wait()
    asked = [ask.body["model"] for ask in running.model.asks[before:]]
    assert asked == ["o"] or asked == ["m", "o"]  # at most the one that tries whether it is back
    assert quick.answer() == "other"

    running.model.script(By(m=Say("back"), o=Say("other")))
    wait_until(lambda: running.run().wait().answer() == "back", "the first provider is asked again", timeout=60,
               watch=running.check)
    assert is_open() == 0


@takes_long
def test_without_another_model_a_run_waits_for_its_provider(running):
    """It uses up no attempt while nobody is asked."""
    running.publish(model={"attempts": 6})
    running.model.script(*[[*[Status(503)] * 5, Say("done")]])
    run = running.run().wait(timeout=60)
    assert run.row()["model_calls"] == 6
    assert run.answer() == "done"
