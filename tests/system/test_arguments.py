"""Arguments that do not fit a tool's schema: the tool is not called, and the model reads why."""

import json
import re

from model import Call, Reply, Say
from waiting import stays, wait_until

INVOICE = {
    "type": "object",
    "properties": {
        "customer": {"type": "string", "minLength": 1},
        "lines": {"type": "array", "minItems": 1, "items": {
            "type": "object",
            "properties": {"sku": {"type": "string", "pattern": r"^[A-Z]{2}-\d+$"}, "amount": {"type": "number"}},
            "required": ["sku", "amount"], "additionalProperties": False}},
        "pay": {"oneOf": [
            {"type": "object", "properties": {"by": {"const": "card"}, "number": {"type": "string"}},
             "required": ["by", "number"]},
            {"type": "object", "properties": {"by": {"const": "bill"}}, "required": ["by"]}]},
    },
    "required": ["customer", "lines", "pay"],
    "additionalProperties": False,
}


class Learner(Reply):
    """Begins with everything wrong, and mends what the last result complains of: one thing a step.
    What it goes by is the sentence alone: the place in it, and what is wanted there."""

    ROOT = "the argument object"

    def __init__(self, arguments):
        super().__init__()
        self.arguments = arguments
        self.heard = []

    def serve(self, handler, ask):
        results = list(ask.results().values())
        if results and "do not fit" not in results[-1]:
            return Say("sent").serve(handler, ask)
        if results:
            self.heard.append(results[-1])
            self.mend(results[-1].split("schema: ", 1)[1])
        return Call(("invoice", self.arguments)).serve(handler, ask)

    def mend(self, complaint):
        place, told = re.match(rf"({self.ROOT}|/\S*) (.*)", complaint).groups()
        path = [int(word) if word.isdigit() else word for word in place.split("/")[1:]]
        holder = self.arguments
        for word in path[:-1]:
            holder = holder[word]
        at = holder[path[-1]] if path else holder
        if meant := re.match(r"has '(\w+)', which is not allowed; did you mean '(\w+)'", told):
            at[meant[2]] = at.pop(meant[1])
        elif missing := re.match(r"lacks '(\w+)'", told):
            at[missing[1]] = "?"
        elif "an array is wanted" in told:
            holder[path[-1]] = [{"sku": "ab 1", "amuont": 12.5}]
        elif "a number is wanted" in told:
            holder[path[-1]] = 12.5
        elif "an object is wanted" in told:
            holder[path[-1]] = {"by": "cash"}
        elif one_of := re.search(r"one of (\"\w+\")", told):
            holder[path[-1]] = json.loads(one_of[1])
        elif "the regular expression ^[A-Z]{2}-\\d+$" in told:
            holder[path[-1]] = "AB-1"
        else:
            raise AssertionError(f"no model would know what to do: {complaint}")


def test_a_model_corrects_itself_by_what_it_reads(running):
    running.publish(tools={"invoice": {"parameters": INVOICE}})
    learner = Learner({"custmer": "Ada", "lines": "AB-1", "pay": 5})
    running.model.script(learner)
    running.run().wait()
    assert [e.arguments for e in running.tools.ledger] == [learner.arguments] == [
        {"customer": "Ada", "lines": [{"sku": "AB-1", "amount": 12.5}],
         "pay": {"by": "card", "number": "?"}}]
    assert len(learner.heard) >= 7
    assert max(len(text.encode()) for text in learner.heard) < 600


def test_only_the_call_that_does_not_fit_is_refused(running):
    running.publish(tools={"invoice": {"parameters": INVOICE}, "look": {"read_only": True}})
    running.model.script(Call(("look", {"any": 1}), ("invoice", {"customer": ""})), Say("done"))
    run = running.run().wait()
    assert [e.tool for e in running.tools.ledger] == ["look"]
    results = running.model.asked(2)[0].results()
    assert "lacks 'lines', 'pay', which are required" in results["call_1_1"]
    rows = running.sql("SELECT index, refused FROM pawl.agent_step_content WHERE run_id = %s AND step = 1 "
                       "ORDER BY index", run.id)
    assert [row["refused"] is None for row in rows] == [True, False]


def test_a_schema_that_cannot_be_checked_is_refused_with_its_place(running):
    path = running.directory / "refused.yaml"
    path.write_text('tools:\n  t:\n    description: d\n    http: {url: "http://127.0.0.1:1/t"}\n    parameters:\n'
                    "      type: object\n      properties:\n        when:\n          type: string\n"
                    '          pattern: "(?i)monday"\n')
    done = running.pawl("agent", "apply", path, check=False)
    assert done.returncode != 0
    assert "refused.yaml:10: parameters/properties/when/pattern has a regular expression" in done.stderr
    assert running.sql("SELECT * FROM pawl.revisions WHERE kind = 'tool' AND name = 't'") == []


def test_a_stored_schema_that_is_too_new_leaves_the_run_to_others(stack):
    """As when a newer pawl has published it: this planner cannot tell which calls may be made."""
    stack.kafka.start()
    stack.publish(tools={"look": {"read_only": True}})
    body = stack.sql.value("SELECT body FROM pawl.revisions WHERE kind = 'tool'")
    newer = {**body, "parameters": {"type": "object", "tomorrow": True}}
    store = "UPDATE pawl.revisions SET body = %s WHERE kind = 'tool'"
    stack.sql(store, json.dumps(newer))
    stack.model.script(Call(("look", {})), Say("done"))
    stack.planner(1)
    stack.executor(1)
    run = stack.run()
    log = stack.processes["planner-1"]
    wait_until(lambda: "its runs are left to others" in log.text(), "the planner says so", watch=stack.check)
    assert "cannot read the schema of tool 'look': parameters/tomorrow" in log.text()
    stays(lambda: run.status == "running" and not stack.model.asks, "the run waits for another planner", 2)
    assert run.row()["failures"] == 0
    stack.sql(store, json.dumps(body))
    stack.planner(2)
    run.wait(timeout=60)
    assert len(stack.tools.ledger) == 1
