"""Limits of a run, each ended or refused with an error that says which one it was.

Elsewhere: calls of a step and size of arguments in test_planner.py, parallel calls in
test_executor_calls.py, size of requests in test_requests.py, sizes of results and answers and the
times of single calls in test_hostile_tools.py and test_hostile_models.py.
"""

from model import Call, Say
from tool import Never


def test_steps_of_a_run(running):
    running.publish(tools={"look": {"read_only": True}}, agent={"limits": {"steps": 2}})
    running.model.script(Call(("look", {"n": 1})), Call(("look", {"n": 2})), Say("never"))
    run = running.run().wait("failed")
    row = run.row()
    assert row["error_code"] == "step_limit" and "2" in row["error"]
    assert [ask.step for ask in running.model.asks] == [1, 2]
    assert [ask.body.get("tool_choice") for ask in running.model.asks] == [None, "none"]
    assert [row["status"] for row in run.actions()] == ["succeeded"]  # nobody could read what the second one gives


def test_the_last_step_is_for_the_answer(running):
    running.publish(tools={"look": {"read_only": True}}, agent={"limits": {"steps": 2}})
    running.model.script(Call(("look", {"n": 1})), Say("done"))
    assert running.run().wait().answer() == "done"
    assert running.model.asked(2)[0].body["tool_choice"] == "none"


def test_time_of_a_run(running):
    running.publish(tools={"send": {"timeout": "60s"}}, agent={"limits": {"time": "2s"}})
    running.tools.behave("send", Never())
    running.model.script(Call(("send", {"n": 1})), Say("never"))
    run = running.run().wait("failed")
    assert run.row()["error_code"] == "deadline_exceeded"
    assert len(running.tools.executions("send")) == 1
    run.wait_action("unknown")  # it may have been executed
    assert not running.model.asked(2)


def test_size_of_an_input_on_the_command_line(running):
    running.publish()
    (running.directory / "large.txt").write_text("y" * ((1 << 20) + 1))
    done = running.pawl("run", "start", "--agent", "agent", "--input-file", "large.txt", check=False)
    assert done.returncode != 0
    assert "1048576" in done.stderr or "1 MiB" in done.stderr or "1MiB" in done.stderr
    assert not running.runs()
