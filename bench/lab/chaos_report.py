"""What chaos prints."""

import json
from collections import Counter

from attack import name_of_signal
from moments import moments

LATE = ("plan came too late", "result came too late")


def late_commits(fleet):
    """By the logs: results that were refused because their claim was gone."""
    found = Counter()
    for daemon in fleet.daemons.values():
        for line in daemon.text().splitlines():
            if any(words in line for words in LATE):
                try:
                    found[json.loads(line).get("msg")] += 1
                except ValueError:
                    continue  # cut off by a kill
    return found


def print_faults(attack):
    kinds = Counter((fault.what, fault.target.partition("-")[0]) for fault in attack.done)
    for what in ("kill", "stop", "long stop", "leave"):
        planners, executors = kinds[(what, "planner")], kinds[(what, "executor")]
        print(f"    {what:44} {planners + executors:6}   planners {planners}, executors {executors}")
    exits = Counter((name.partition("-")[0], name_of_signal(code)) for name, code, what in attack.exits if what == "nothing")
    print(f"    {'ended by themselves':44} {sum(exits.values()):6}   "
          + ", ".join(f"{kind} with {code}: {count}" for (kind, code), count in sorted(exits.items())))
    print(f"    {'not carried out: the victim was down':44} {len(attack.missed):6}")


def print_brokers(chaos):
    if chaos.brokers.every_s:
        print(f"    {'nodes of Kafka killed':44} {chaos.brokers.done:6}")


def print_moments(record):
    found, idle = moments(record)
    for (kind, what, point), deaths, items in found:
        print(f"    {kind:9}{what:40} {deaths:5} {items:7}   {point}")
    for kind in ("planner", "executor"):
        print(f"    {kind:9}{'nothing in hand':40} {idle[kind]:5}")


def print_report(chaos, record, lines):
    attack = chaos.attack
    seconds = chaos.ended_at - chaos.began_at
    print(f"\n{len(attack.done)} faults in {seconds:.0f} s, seed {chaos.options.seed}; {chaos.twice} requests were sent twice\n")
    print("  what was done")
    print_faults(attack)
    print_brokers(chaos)
    print("\n  where kills and stops met them               times   steps or calls, and the nearest fault point")
    print_moments(record)
    if attack.slow:
        print(f"    ({attack.slow} looks came before the dead one's last statement had ended)")
    promise = None
    print()
    for line in lines:
        mark = "" if line.held else "   <-- NOT HELD"
        print(f"  {line.promise if line.promise != promise else '':3} {line.what:52} {line.value}{mark}")
        promise = line.promise
        for example in line.examples:
            print(f"        {example}")
    broken = sorted({line.promise for line in lines if not line.held})
    print(f"\n{'held: P1 to P7' if not broken else 'NOT HELD: ' + ', '.join(broken)}", flush=True)
