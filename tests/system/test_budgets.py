"""Budgets of tokens and money: at the limit a run is suspended, and goes on when people raise it."""

from model import Call, Say

PRICE = {"input": 100, "output": 100}  # for a million tokens; a call has 15


def show(running, run):
    return running.pawl("run", "show", run.id)


def test_a_run_stops_at_its_budget_and_resume_lets_it_go_on(running):
    running.publish(tools={"look": {"read_only": True}}, agent={"limits": {"cost": 0.002}}, model={"price": PRICE})
    running.model.script(Call(("look", {"n": 1})), Call(("look", {"n": 2})), Say("done"))
    run = running.run().wait("suspended")
    row = run.row()
    assert (row["step"], row["error_code"]) == (3, "budget_exceeded")
    assert "0.003000 of 0.002000 in money" in row["error"] and "pawl run resume" in row["error"]
    assert [ask.step for ask in running.model.asks] == [1, 2]  # the last call went alone, and ended over the limit
    assert "waits for a budget" in show(running, run) and "budget: cost 0.0030 of 0.0020" in show(running, run)
    low = running.pawl("run", "resume", run.id, "--budget-cost", "0.003", check=False)
    assert low.returncode == 1 and "give it more" in low.stderr
    assert "1 run goes on" in running.pawl("run", "resume", run.id, "--budget-cost", "0.1", "--as", "ann")
    assert run.wait().answer() == "done"
    assert [ask.step for ask in running.model.asks] == [1, 2, 3]
    assert "resume at" in show(running, run) and "by ann" in show(running, run)


def test_a_request_may_lower_its_budget(running):
    running.publish(tools={"look": {"read_only": True}}, agent={"limits": {"tokens": 1000000}})
    running.model.script(Call(("look", {"n": 1})), Say("done"))
    started = running.pawl("run", "start", "--agent", "agent", "--input", "go", "--budget-tokens", "10").strip()
    (run,) = running.runs()
    assert run.id == started
    run.wait("suspended")
    assert "15 of 10 tokens" in run.row()["error"]
    assert "budget: 15 of 10 tokens" in show(running, run)
    assert "goes on" in running.pawl("run", "resume", "last", "--budget-tokens", "1000")
    run.wait()


def test_a_tenant_has_a_budget_by_the_day(running):
    running.publish()
    running.model.script(Say("done"))
    tenant = running.run().wait().row()["tenant"]
    assert "is set" in running.pawl("budget", "set", "--tenant", tenant, "--tokens-per-day", "10")
    running.run().wait()  # nothing was spent before
    run = running.run().wait("suspended")
    assert run.row()["step"] == 1 and f"tenant {tenant} today has spent 15 of 10 tokens" in run.row()["error"]
    assert "15 of 10" in running.pawl("budget", "list")
    assert "1 run goes on" in running.pawl("budget", "set", "--tenant", tenant, "--off")
    run.wait()
    assert running.pawl("budget", "set", "--tenant", tenant, "--off", check=False).returncode == 1
