"""Where tools may be: whatever spelling, name or redirect leads to a private address, nothing is sent."""

import pytest

from model import Call, Say
from tool import Status

# How one writes an address that no tool may be at.
SPELLINGS = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "localhost", "[::1]",
             "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "0", "[::]", "10.0.0.1", "172.16.0.1", "192.168.0.1",
             "100.64.0.1", "169.254.169.254", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]"]


def by_url(url):
    return {"http": {"method": "POST", "url": url}, "timeout": "5s", "connect_timeout": "3s"}


@pytest.fixture
def walled(stack):
    """As a newly configured executor is: no private network is allowed."""
    stack.kafka.start()
    stack.planner()
    stack.executor(settings={"outbound": {}})
    stack.wait_joined("planner-1", "executor-1")
    return stack


def test_no_spelling_leads_to_a_private_address(walled):
    port = walled.tools.port
    tools = {f"t{n}": by_url(f"http://{host}:{port}/tool/t{n}") for n, host in enumerate(SPELLINGS)}
    walled.publish(tools=tools, agent={"limits": {"calls_per_step": 64}})
    walled.model.script(Call(*[(tool, {}) for tool in tools]), Say("done"))
    run = walled.run().wait(timeout=60)
    actions = run.actions(step=1)
    assert len(actions) == len(SPELLINGS)
    assert {(a["status"], a["error_code"], a["failures"]) for a in actions} == {("failed_before_effect", "forbidden_address", 1)}
    results = walled.model.asked(2)[0].results()
    assert all("outbound.networks" in text and text.startswith("Not executed") for text in results.values())
    assert walled.tools.ledger == []


def test_what_is_allowed_is_reached_and_no_more(stack):
    stack.kafka.start()
    stack.planner()
    stack.executor(settings={"outbound": {"networks": "127.0.0.1", "ports": str(stack.tools.port)}})
    stack.wait_joined("planner-1", "executor-1")
    port = stack.tools.port
    stack.tools.behave("away", Status(302, headers=[("Location", "http://169.254.169.254/latest/meta-data/")]))
    stack.publish(tools={"near": by_url(f"http://127.0.0.1:{port}/tool/near"),
                         "next": by_url(f"http://127.0.0.2:{port}/tool/next"),
                         "port": by_url(f"http://127.0.0.1:{port + 1 if port < 65535 else port - 1}/tool/port"),
                         "away": {**by_url(f"http://127.0.0.1:{port}/tool/away"), "read_only": True,
                                  "http": {"method": "GET", "url": f"http://127.0.0.1:{port}/tool/away"}}})
    stack.model.script(Call(("near", {}), ("next", {}), ("port", {}), ("away", {})), Say("done"))
    run = stack.run().wait(timeout=60)
    last = {a["tool"]: a for a in run.actions(step=1)}
    assert last["near"]["status"] == "succeeded"
    assert last["next"]["error_code"] == last["port"]["error_code"] == "forbidden_address"
    assert "outbound.ports" in last["port"]["error"]
    assert (last["away"]["status"], last["away"]["error_code"], last["away"]["failures"]) == ("failed", "forbidden_address", 1)
    assert {e.tool for e in stack.tools.ledger} <= {"near", "away"}
