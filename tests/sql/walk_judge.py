"""walk_judge.py -- the promises of the protocol, held against what walk.py sees.

The judge knows the promises and the truth of the world (who is alive, what the tools did, what a
model has read); it does not know how the SQL keeps them. It looks at all tables after every event.
"""

from collections import defaultdict

from walk_world import GRACE, MARGIN

EPSILON = 0.001
WAITS = ("awaiting_decision", "awaiting_approval", "awaiting_child", "awaiting_event", "awaiting_timer")
LIVE = ("queued", "running", "suspended")
MISCOUNTED = (
    "SELECT tenant, r, q, running, queued FROM (SELECT class, tenant, count(*) FILTER (WHERE status = 'running') AS r, count(*) FILTER (WHERE status = 'queued') AS q "
    "FROM pawl.agent_runs GROUP BY 1, 2) a FULL JOIN pawl.tenant_load b USING (class, tenant) "
    "WHERE (coalesce(a.r, 0), coalesce(a.q, 0)) <> (coalesce(b.running, 0), coalesce(b.queued, 0))")


class Broken(Exception):
    """A promise was not kept."""


def check(good, text, *args):
    if not good:
        raise Broken(text % args)


class Judge:
    def __init__(self, world):
        self.world = world
        self.runs, self.actions, self.newest = {}, {}, {}  # as of the last look; newest by logical call
        self.before_runs, self.before_actions = {}, {}  # and of the one before
        self.accepted = {}  # (source, id) -> run
        self.plans = {}  # (run, step, epoch, version) -> (outcome, items)
        self.path = defaultdict(dict)  # run -> step -> the plan that holds there
        self.reads = {}  # token -> what its prompt was made of
        self.facts = {}  # (run, step, index, epoch, plan version) -> what a model has read
        self.holder = {}  # run -> the task that plans its step
        self.planning = set()  # (run, epoch, step) that some planner has read for
        self.unsent = set()  # (run, step, index, version) that their holder says were not sent
        self.cleared = {}  # logical call -> last version that certainly did not happen
        self.word = {}  # logical call -> what a person said
        self.spoken = defaultdict(set)  # (run, tool, args) -> doubts that a person's word covers
        self.ends = {}  # (run, epoch) -> status
        self.answers = {}  # (run, epoch) -> text of the final answer
        self.published = defaultdict(set)
        self.retried = set()  # runs that a person opens anew in this very event
        self.looks = 0

    # ------------------------------------------------------------------ the look

    def look(self):
        """Reads the tables and holds every invariant against them."""
        self.looks += 1
        self.before_runs, self.before_actions = self.runs, self.actions
        world = self.world
        self.runs = {r.run_id: r for r in world.ask(
            "SELECT run_id, status, epoch, step, version, open_calls, waiting_calls, parallel, claim_by, claim_token, due_at, ended_at, "
            "error_code, extract(epoch FROM due_at)::float8 AS due, extract(epoch FROM deadline)::float8 AS until, "
            "extract(epoch FROM not_before)::float8 AS rest FROM pawl.agent_runs")}
        self.actions = {(a.run_id, a.step, a.index, a.version): a for a in world.ask(
            "SELECT *, extract(epoch FROM retry_at)::float8 AS again, extract(epoch FROM probe_after)::float8 AS probe, "
            "extract(epoch FROM wait_until)::float8 AS wait, extract(epoch FROM send_by)::float8 AS fence FROM pawl.agent_actions")}
        self.newest = {}
        for key in sorted(self.actions):
            a = self.actions[key]
            older = self.newest.get(logical(a))
            check(older is None or not older.open, "%s: an older attempt is still open", key)
            self.newest[logical(a)] = a
        for run in self.runs.values():
            self.check_run(run)
        for key, old in self.before_actions.items():
            self.check_change(key, old, self.actions[key])
        self.check_keys()
        wrong = world.ask(MISCOUNTED)
        check(not wrong, "places are not counted as they are held: %s", wrong)
        for call, fact in self.facts.items():
            now = self.newest.get(call)
            check(now is None or (now.status, now.result or now.error) == fact, "what a model read of %s was %s and is %s", call, fact, now)
        self.retried = set()

    def check_run(self, run):
        was = self.before_runs.get(run.run_id)
        if was:
            check(run.epoch == was.epoch or (run.epoch == was.epoch + 1 and run.run_id in self.retried), "epoch of %s", run)
            check(run.epoch > was.epoch or was.step <= run.step <= was.step + 1, "step of %s", run)
            check(was.ended_at is None or run.epoch > was.epoch or (run.status, run.ended_at, run.step) == (was.status, was.ended_at, was.step),
                  "an ended run has changed: %s", run)
        check((run.status in LIVE) == (run.ended_at is None), "ended or not: %s", run)
        if run.status in LIVE:
            self.check_live(run)
        else:
            self.check_ended(run)

    def check_ended(self, run):
        check(not any((run.open_calls, run.waiting_calls, run.claim_by, run.due_at)), "ended, but: %s", run)
        check(self.ends.setdefault((run.run_id, run.epoch), run.status) == run.status, "two ends: %s", run)
        check(not any(a.open for a in self.actions.values() if a.run_id == run.run_id), "open calls of an ended run: %s", run)

    def check_live(self, run):
        check(run.version == 0 or run.version >= self.last_plan(run.run_id, run.step), "a plan above that of %s", run)
        calls = self.calls_of(run)
        opens = [a for a in calls.values() if a is None or a.open]
        waits = [a for a in opens if a and a.status in WAITS]
        check(run.open_calls == len(opens), "open_calls of %s: %s", run, calls)
        check(run.waiting_calls == len(waits), "waiting_calls of %s", run)
        check((run.status == "suspended") == (0 < len(opens) == len(waits)), "status of %s", run)
        running = [a for a in opens if a and a.status == "running"]
        check(len(running) <= run.parallel, "too many calls at a time: %s", run)
        self.check_due(run, opens, len(running) < run.parallel)

    def last_plan(self, run, step):
        """The maximal version that a plan was committed with."""
        return max([v for r, s, _, v in self.plans if (r, s) == (run, step)], default=0)

    def calls_of(self, run):
        """index -> newest attempt (or None) of every call of the plan at which the hands are."""
        key = (run.run_id, run.step, run.epoch, run.version)
        outcome, items = self.plans.get(key, (None, []))
        if outcome != "calls":
            return {}
        return {i: self.newest.get((run.run_id, run.step, i, run.epoch, run.version))
                for i, item in enumerate(items) if item["type"] == "function_call" and not item["refused"]}

    def check_due(self, run, opens, has_place):
        now = self.world.time
        moments = [run.until] + [self.moment(a) for a in opens if has_place or (a and a.wait)]
        if run.status == "queued":
            check(run.claim_by is None and not run.open_calls and run.due == run.until, "waits for a place, but: %s", run)
        elif not run.open_calls and run.claim_by is None:
            moments.append(max(now, run.rest or 0) + GRACE + 1)
        check(run.due is not None and run.due <= min(moments) + EPSILON, "due too late (%s > %s): %s", run.due, min(moments), run)

    def moment(self, a):
        """When somebody must look at this call at the latest."""
        now, late = self.world.time, GRACE + 1
        if a is None:
            return now + late
        if a.again:
            return max(now, a.again) + late
        if a.probe and not a.probe_by:
            return max(now, a.probe) + late
        return max(now, a.wait) + 1 if a.wait else float("inf")

    def check_change(self, key, old, new):
        check(old.open or not new.open, "%s was closed and is open again: %s", key, new)
        check(old.status != "succeeded" or (new.status, new.result) == (old.status, old.result), "a success has changed: %s", new)
        check((old.key, old.tool, old.epoch, old.plan_version) == (new.key, new.tool, new.epoch, new.plan_version), "%s", new)

    def check_keys(self):
        keys = {}
        for a in self.actions.values():
            if a.copied_from is None:
                check(keys.setdefault(a.key, logical(a)) == logical(a), "one key for two calls: %s", a)
        calls = defaultdict(set)
        for a in self.actions.values():
            calls[logical(a)].add(a.key)
        check(all(len(k) == 1 for k in calls.values()), "two keys for one call: %s", calls)
        for call, a in self.newest.items():
            if a.status == "unknown" and not a.open:
                check(a.effect != "read_only", "a call that only reads is unknown: %s", a)
                check(self.may_have_happened(call), "unknown, but it was certainly not sent: %s", a)

    def may_have_happened(self, call):
        run, step, index, epoch, plan = call
        return any(a.claim_by and k not in self.unsent and a.version > self.cleared.get(call, 0)
                   for k, a in self.actions.items() if logical(a) == call)

    # ------------------------------------------------------------------ planning

    def plan_claimed(self, task, row):
        run, was = self.runs[task.run], self.before_runs[task.run]
        if row.answer != "yours":
            return
        check(not task.process.buried, "the dead claim: %s", task)
        check((run.claim_by, run.claim_token) == (task.process.worker, task.token), "%s holds, but %s", task, run)
        key = (task.run, row.epoch, row.step)
        holder = self.holder.get(task.run)
        if holder and holder[:2] == (task, key):
            check(holder[2] == row.version, "asked again, another answer: %s %s", task, row)
            return
        check(holder is None or holder[1] != key or holder[0].process.buried, "two planners: %s and %s", task, holder)
        check(was.status == "running" and not was.open_calls and self.world.time >= (was.rest or 0) - EPSILON, "claimed too early: %s", was)
        check(row.version > self.last_plan(task.run, row.step), "version %s of %s", row.version, task)
        self.holder[task.run] = (task, key, row.version)
        self.planning.add(key)

    def prompt_read(self, task, known, rows):
        """What a model reads is what was planned and what became of it, in this epoch or before the step of the retry."""
        path, claim = self.path[task.run], task.claim
        run = self.runs[task.run]
        if (run.epoch, run.step, run.claim_token) != (claim.epoch, claim.step, task.token):
            return  # it has lost its claim again; what it reads goes nowhere
        read, facts = {(r.kind, r.step, r.index): r for r in rows}, {}
        check(len(read) == len(rows), "the prompt has rows twice: %s", rows)
        check((("input", 0, 0) in read) == (known == 0), "the input of %s", task)
        read.pop(("input", 0, 0), None)
        for step in range(max(known, 1), claim.step):
            plan = path[step]
            outcome, items = self.plans[plan]
            check(outcome == "calls", "step %s of %s", step, task)
            for i, item in enumerate(items):
                if step > known:
                    row = read.pop(("item", step, i), None)
                    check(row and (row.type, row.call_id, row.tool, row.arguments, row.refused, row.content) ==
                          (item["type"], item.get("call"), item.get("tool"), item.get("args"), item.get("refused"), item.get("content")),
                          "item %s.%s of %s: %s", step, i, task, row)
                if item["type"] != "function_call":
                    continue
                row = read.pop(("result", step, i), None)
                check(row and row.call_id == item["call"], "result %s.%s of %s: %s", step, i, task, row)
                if not item["refused"]:
                    self.check_result(task, (task.run, step, i, plan[2], plan[3]), item, row)
                    facts[(task.run, step, i, plan[2], plan[3])] = (row.status, row.content)
        check(not read, "%s reads too much: %s", task, read)
        self.reads[task.token] = facts

    def check_result(self, task, call, item, row):
        check(row.status in ("succeeded", "failed", "failed_before_effect", "unknown", "cancelled", "denied"), "%s reads %s", task, row)
        if row.status == "succeeded" and row.content.startswith("exec:"):
            tool, args, key, _ = self.world.ledger[int(row.content[5:])]
            check((tool, args) == (item["tool"], item["args"]), "%s reads of another call: %s", task, row)
            check(self.newest[call].key == key, "%s reads the result of another key: %s", task, row)
        elif row.status == "succeeded":
            check(self.word.get(self.origin(call)) is True, "%s reads a success that nobody brought: %s", task, row)

    def origin(self, call):
        """The call that this one is a copy of, or itself."""
        a = self.newest[call]
        if a.copied_from is None:
            return call
        return logical(self.actions[(call[0], call[1], a.copied_index, a.copied_from)])

    def plan_noted(self, task, row):
        """Before the look: what an accepted plan adds to the truth."""
        if row.answer == "ok" and task.outcome != "handed_back":
            stored = (task.run, task.claim.step, task.claim.epoch, task.claim.version)
            check(stored not in self.plans, "a plan is stored twice: %s", task)
            self.plans[stored] = (task.outcome, task.items)

    def holds_plan(self, task):
        """Whether this task was the one that plans, before this event."""
        was, claim = self.before_runs[task.run], task.claim
        holder = self.holder.get(task.run)
        return (holder and holder[0] is task and not task.process.buried and was.status in LIVE
                and (was.epoch, was.step, was.claim_token) == (claim.epoch, claim.step, task.token))

    def plan_committed(self, task, row):
        holds, claim = self.holds_plan(task), task.claim
        stored = (task.run, claim.step, claim.epoch, claim.version)
        check(row.answer != "ok" or holds, "committed without a claim: %s", task)
        check(row.answer != "done" or task.committed, "done, but it never was: %s", task)
        check(not holds or row.answer == "ok", "the holder was refused: %s %s", task, row)
        check(not task.committed or task.outcome == "handed_back" or stored not in self.plans or row.answer == "done",
              "repeated, but %s: %s", row.answer, task)
        if row.answer != "ok":
            return
        self.holder.pop(task.run)
        if task.outcome == "handed_back":
            if claim.version == 1 + self.last_plan(task.run, claim.step):
                self.planning.discard((task.run, claim.epoch, claim.step))  # what it read went nowhere, and nobody else has read
            return
        self.facts.update(self.reads.get(task.token, {}))
        self.path[task.run][claim.step] = stored
        if task.outcome == "final":
            self.answers[(task.run, claim.epoch)] = task.items[-1]["content"]
        self.check_answer(task, row)

    def check_answer(self, task, row):
        """What an accepted plan is answered."""
        calls = [i for i in task.items if i["type"] == "function_call" and not i["refused"]]
        status = {"final": "succeeded", "fail": "failed"}.get(task.outcome, "running")
        check((row.status, row.open_calls) == (status, len(calls)), "answer to %s: %s", task, row)
        check(row.next_step == (task.claim.step + 1 if task.outcome == "calls" and not calls else 0), "next step of %s: %s", task, row)

    # ------------------------------------------------------------------ calling

    def call_claimed(self, task, row):
        if row.answer != "yours":
            return
        check(not task.process.buried, "the dead claim: %s", task)
        run, a = self.runs[task.run], self.actions[(task.run, task.step, task.index, row.version)]
        was = self.before_actions.get((a.run_id, a.step, a.index, a.version))
        again = was and task.token == (was.probe_token if row.kind == "probe" else was.claim_token)
        check((run.epoch, run.step, run.version) == (a.epoch, a.step, a.plan_version), "claimed: %s of %s", a, run)
        check(again or run.until > self.world.time, "claimed when its time was up: %s of %s", a, run)
        if row.kind == "probe":
            check((a.probe_by, a.probe_token) == (task.process.worker, task.token), "%s probes, but %s", task, a)
            check(was.probe_by is None or was.probe_token == task.token, "two probes: %s", task)
            check(self.world.time >= a.fence + a.timeout_ms / 1000 + MARGIN - EPSILON, "probed too early: %s", a)
            return
        check((a.claim_by, a.claim_token, a.status) == (task.process.worker, task.token, "running"), "%s holds, but %s", task, a)
        check((row.key, row.tool) == (a.key, a.tool), "%s: %s", row, a)
        if was:
            check((was.claim_by, was.claim_token) == (task.process.worker, task.token), "an attempt has two holders: %s", task)
            check(row.send_by_ms == 0 or self.world.time + row.send_by_ms / 1000 <= a.fence + EPSILON, "asked again, it may be sent later: %s", row)
            return
        self.check_new_attempt(task, a)

    def check_new_attempt(self, task, a):
        call = logical(a)
        olds = [o for k, o in sorted(self.before_actions.items()) if logical(o) == call]
        if olds:
            old = olds[-1]
            check(old.open and (old.again or 0) <= self.world.time + EPSILON, "taken, though closed or too early: %s", old)
            check(old.status in ("failed", "failed_before_effect") or (old.status == "unknown" and old.effect != "once"),
                  "sent again on a guess: %s", old)
            check(a.key == old.key, "another key: %s", a)
        if a.effect == "once":
            args = self.args_of(call)
            doubts = self.doubts(a.run_id, a.tool, args) - {call} - self.spoken[(a.run_id, a.tool, args)]
            check(not doubts, "%s is sent while %s is unknown", a, doubts)
        successes = [o for o in self.before_actions.values() if o.status == "succeeded" and o.copied_from is None and o.epoch < a.epoch
                     and (o.run_id, o.step, o.tool, o.digest) == (a.run_id, a.step, a.tool, a.digest)]
        copies = [o for o in self.actions.values() if o.copied_from is not None and (o.run_id, o.step, o.tool, o.digest, o.epoch) ==
                  (a.run_id, a.step, a.tool, a.digest, a.epoch) and o.plan_version == a.plan_version]
        check(len(copies) >= len(successes), "%s is computed again, though it was done: %s", a, successes)

    def args_of(self, call):
        return self.plans[(call[0], call[1], call[3], call[4])][1][call[2]]["args"]

    def doubts(self, run, tool, args):
        """Calls of which nobody knows whether they happened, before this event."""
        newest = {}
        for key in sorted(self.before_actions):
            if key[0] == run and self.before_actions[key].tool == tool:
                newest[logical(self.before_actions[key])] = self.before_actions[key]
        return {c for c, a in newest.items() if (a.status == "unknown" or (a.status == "awaiting_decision" and a.claim_by))
                and self.args_of(c) == args}

    def sent(self, task):
        check(self.world.time <= task.send_by, "sent too late: %s", task)

    def call_noted(self, task, row):
        """Before the look: what an accepted result adds to the truth."""
        key = (task.run, task.step, task.index, task.claim.version)
        if row.answer in ("ok", "stored") and task.outcome in ("failed_before_effect", "handed_back"):
            self.unsent.add(key)
        if row.answer == "ok" and task.outcome == "did_not_happen":
            self.cleared[logical(self.actions[key])] = task.claim.version

    def call_committed(self, task, row):
        key = (task.run, task.step, task.index, task.claim.version)
        was, now = self.before_actions[key], self.actions[key]
        truth = task.outcome in ("succeeded", "failed")
        if task.claim.kind == "probe":
            holds = was.open and (was.probe_by, was.probe_token) == (task.process.worker, task.token)
            return check((row.answer == "ok") == holds or task.committed, "probe %s: %s", task, row)
        wanted = self.wanted(was, truth) if (was.claim_by, was.claim_token) == (task.process.worker, task.token) else None
        if wanted:
            check(row.answer == wanted, "%s should be answered %s: %s", task, wanted, row)
        else:
            check(row.answer != "ok", "taken, though its place was: %s %s", task, was)
            check(not task.committed or row.answer in ("done", "stale", "stored"), "repeated: %s %s", task, row)
        if row.answer in ("ok", "stored") and truth:
            check(now.status == task.outcome and (task.outcome == "failed" or now.result == task.result), "stored otherwise: %s %s", task, now)
        return None

    def wanted(self, was, truth):
        """What the claimant must be answered, where the promises say so."""
        run = self.before_runs[was.run_id]
        here = (run.epoch, run.step) == (was.epoch, was.step)
        last = (was.run_id, was.step, was.index, was.version + 1) not in self.before_actions
        if run.status not in LIVE:  # closed: what arrives is stored
            return "stored" if here and last and truth and was.status in ("unknown", "cancelled") else None
        if was.status == "running":
            return "ok"
        unread = here or ((run.epoch, run.step) == (was.epoch, was.step + 1) and (run.run_id, run.epoch, run.step) not in self.planning)
        return "ok" if unread and last and truth and was.status in ("unknown", "awaiting_decision") else None

    # ------------------------------------------------------------------ people and the end

    def decided(self, call, happened, doubts):
        """A person has said so about a call, and so about its unknown twins."""
        self.spoken[(call[0], self.newest[call].tool, self.args_of(call))] |= doubts
        self.word[call] = happened
        if not happened:
            self.cleared[call] = self.newest[call].version

    def announced(self, row):
        if row.type in ("accepted", "waiting"):
            return
        check(self.ends.get((row.run_id, row.epoch)) == row.type, "announced: %s", row)
        self.published[(row.run_id, row.epoch)].add(row.type)
        if row.type == "succeeded":
            check(row.answer == self.answers[(row.run_id, row.epoch)], "announced with another answer: %s", row)
        elif row.type == "failed":
            check(row.error_code, "announced without its reason: %s", row)

    def finish(self):
        """When all is over: every end was announced, and the rows tell the truth."""
        for run in self.runs.values():
            check(run.status not in LIVE, "stuck: %s", run)
            for epoch in range(1, run.epoch + 1):
                check(self.published[(run.run_id, epoch)] == {self.ends.get((run.run_id, epoch))}, "end of epoch %s of %s: announced %s", epoch,
                      run, self.published[(run.run_id, epoch)])
        lies = self.world.lies
        for call, a in self.newest.items():
            if a.effect == "read_only" or a.copied_from is not None or a.key in lies:
                continue
            ran = self.world.executions(a.key)
            check(a.effect != "once" or len(ran) <= 1, "executed %s times: %s", len(ran), a)
            check(a.status != "succeeded" or ran or self.word.get(call), "a success that never was: %s", a)
            check(not ran or a.status not in ("failed_before_effect", "cancelled", "denied"), "it did happen: %s", a)
        stored = {(r.run_id, r.step, r.epoch, r.version) for r in self.world.ask(
            "SELECT run_id, step, epoch, version FROM pawl.agent_step_content WHERE index = 0 AND token IS NOT NULL")}
        late = self.world.ask("SELECT c.run_id, c.step, c.version FROM pawl.agent_step_content c JOIN pawl.agent_runs r USING (run_id) "
                              "WHERE c.token IS NULL AND c.index = 0 AND r.step > c.step AND c.version = (SELECT max(x.version) "
                              "FROM pawl.agent_step_content x WHERE x.run_id = c.run_id AND x.step = c.step)")
        check(not late, "a plan that came too late took the place of the one that was made: %s", late)
        check(stored == set(self.plans), "plans stored and committed differ: %s", stored ^ set(self.plans))


def logical(a):
    return (a.run_id, a.step, a.index, a.epoch, a.plan_version)
