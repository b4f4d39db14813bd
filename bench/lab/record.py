"""All that is known when chaos is over: the ledger's entries, the rows, the topics, the deaths, each under the
number of its run."""

import json
from collections import defaultdict

# Notes each claim of a step as it is made: a version that leaves no plan behind would otherwise not say whose it was.
NOTE_CLAIMS = """
CREATE SCHEMA pawl_lab;
CREATE TABLE pawl_lab.claims (run_id uuid, step int, version int, worker bigint, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION pawl_lab.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO pawl_lab.claims VALUES (NEW.run_id, NEW.step, NEW.version, NEW.claim_by);
    RETURN NULL;
END
$$;
CREATE TRIGGER pawl_lab_note AFTER UPDATE OF claim_by ON pawl.agent_runs FOR EACH ROW
    WHEN (NEW.claim_by IS NOT NULL AND (OLD.claim_by IS DISTINCT FROM NEW.claim_by OR OLD.version <> NEW.version))
    EXECUTE FUNCTION pawl_lab.note();
"""
FORGET_CLAIMS = "DROP SCHEMA IF EXISTS pawl_lab CASCADE"


class Row:
    """A row with names; what is not there is an error."""

    def __init__(self, names, values):
        self.__dict__.update(zip(names, values))


class Record:
    def __init__(self, fleet, ledger, producer, deaths, falls=()):
        self.ledger, self.deaths, self.sent = ledger, deaths, producer.sent
        self.falls = falls  # when a broker that has everything in memory lost it
        runs = self.rows(fleet, "run_id status error_code step ended_at request_id",
                         "SELECT r.run_id::text, r.status::text, r.error_code, r.step, r.ended_at, i.request_id "
                         "FROM pawl.agent_runs r JOIN pawl.agent_run_inputs i USING (run_id) WHERE i.request_id LIKE %s",
                         producer.marker + "-%")
        for run in runs:
            run.number = int(run.request_id.rpartition("-")[2])
        self.runs = runs
        self.number = {run.run_id: run.number for run in runs}
        self.workers = {row.incarnation: row for row in self.rows(
            fleet, "incarnation instance kind state ended_at",
            "SELECT incarnation, instance, kind, state, ended_at FROM pawl.workers")}
        self.plans = self.by_step(self.rows(
            fleet, "run_id step version type worker content created_at",
            "SELECT run_id::text, step, version, type::text, incarnation, content, created_at FROM pawl.agent_step_content WHERE index = 0"))
        self.claims = self.by_step(self.rows(
            fleet, "run_id step version worker at", "SELECT run_id::text, step, version, worker, at FROM pawl_lab.claims ORDER BY at"))
        self.calls = defaultdict(list)
        for row in self.rows(fleet, "run_id step index version plan_version status open key worker code result",
                             "SELECT run_id::text, step, index, version, plan_version, status::text, open, key::text, claim_by, error_code, "
                             "result FROM pawl.agent_actions ORDER BY version"):
            if row.run_id in self.number:
                self.calls[(self.number[row.run_id], row.step, row.index)].append(row)
        self.planned = {(self.number[run], step, index) for run, step, index in fleet.ask(
            "SELECT run_id::text, step, index FROM pawl.agent_step_content WHERE type = 'function_call' AND refused IS NULL")
            if run in self.number}
        self.events = [e for e in fleet.consume(fleet.topics["events"]) if e["headers"].get("ce_subject") in self.number]
        self.dead_letters = [d for d in fleet.consume(fleet.dlq) if producer.marker in str(d.get("payload"))]
        self.asks, self.executions = defaultdict(list), defaultdict(list)
        for ask in ledger.asks:
            self.asks[(ask.run, ask.step)].append(ask)
        for execution in ledger.executions:
            self.executions[execution.call].append(execution)
        self.fates = defaultdict(list)
        for death in deaths:
            self.fates[death.incarnation].append(death.what)

    @staticmethod
    def rows(fleet, names, sql, *arguments):
        names = names.split()
        return [Row(names, values) for values in fleet.ask(sql, *arguments)]

    def by_step(self, rows):
        found = defaultdict(list)
        for row in rows:
            if row.run_id in self.number:
                found[(self.number[row.run_id], row.step)].append(row)
        return found

    def fate(self, worker):
        """Why this incarnation may have lost what it held; None: it had no reason."""
        what, row = self.fates.get(worker, ()), self.workers.get(worker)
        state = row.state if row else "alive"
        if "killed" in what:
            return "killed"
        if "left" in what and state == "gone":
            return "left"
        if "stopped" in what:  # if it went on before anybody missed it, it has no excuse
            return "stopped" if state in ("dead", "gone") else None
        return "ended" if "ended" in what else None

    def receipt(self, row):
        """The key in a stored result, as the tool gave it."""
        try:
            return json.loads(row.result)["key"]
        except (TypeError, ValueError, KeyError):
            return None
