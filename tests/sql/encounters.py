#!/usr/bin/python3
"""encounters.py DSN [NAME] -- who meets whom in the protocol, and who gives way.

Each test is one encounter of two or three real sessions: the first stands inside its transaction,
the next comes to wait for its lock (Postgres is asked whether it does), then the first commits.
So each order of two is tried on purpose, where race.py and walk.py come by it at random. Prints TAP.
"""

import itertools
import sys
import traceback

import meet_bells  # noqa: F401 -- each of these brings its tests into TESTS
import meet_budgets  # noqa: F401
import meet_claims  # noqa: F401
import meet_messages  # noqa: F401
import meet_people  # noqa: F401
import meet_places  # noqa: F401
import meet_results  # noqa: F401
from sessions import TESTS, Meeting


def main():
    meeting = Meeting(sys.argv[1])
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    tests = [t for t in TESTS if wanted in t.__name__]
    print(f"1..{len(tests)}")
    failed = 0
    for number, function in zip(itertools.count(1), tests):
        name = function.__name__.replace("_s_", "'s ").replace("_", " ")
        try:
            function(meeting)
            print(f"ok {number} - {name}", flush=True)
        except Exception:  # noqa: BLE001 -- whatever it is, this encounter went wrong
            failed += 1
            print(f"not ok {number} - {name}")
            print("# " + traceback.format_exc().rstrip().replace("\n", "\n# "), flush=True)
            for session in meeting.all:  # whoever still stands in a transaction
                session.db.cancel()
                session.roll_back()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
