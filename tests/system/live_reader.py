"""A reader of the stream topic, as docs/messages.md tells one to be written."""

import json


class Attempt:
    """What one attempt at a step has said."""

    def __init__(self, place):
        self.place = place  # (epoch, version)
        self.items = {}  # (index, kind): bytes
        self.outcome = None
        self.gap = False

    def add(self, piece):
        item = (piece["index"], piece["kind"])
        if piece["offset"] == 0:
            self.items[item] = b""
        if piece["offset"] != len(self.items.get(item, b"")):
            self.gap = True
        else:
            self.items[item] = self.items.get(item, b"") + piece["text"].encode()


class LiveReader:
    """`steps` has, of each step of one run, the attempt that counts; `replaced` those that did not."""

    def __init__(self, run):
        self.run = run
        self.steps = {}
        self.replaced = []

    def read(self, records):
        for record in records:
            if record["key"] == self.run:
                self.take(json.loads(record["payload"]))
        return self

    def take(self, piece):
        assert piece["v"] == 1 and piece["run"] == self.run
        place = (piece["epoch"], piece["version"])
        attempt = self.steps.get(piece["step"])
        if attempt is None or place > attempt.place:
            if attempt is not None:
                self.replaced.append(attempt)
            attempt = self.steps[piece["step"]] = Attempt(place)
        if place < attempt.place:
            return
        if piece["kind"] != "end":
            attempt.add(piece)
            return
        attempt.outcome = piece["outcome"]
        if attempt.outcome == "committed":
            attempt.gap = attempt.gap or piece["bytes"] != sum(map(len, attempt.items.values()))

    def said(self, step):
        """[(index, kind, text)] of a step, as rows of agent_step_content have them."""
        return [(index, kind, text.decode()) for (index, kind), text in sorted(self.steps[step].items.items())]
