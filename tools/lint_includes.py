#!/usr/bin/python3
"""Holds the direction of the includes, and the doors of the foreign libraries.

    lint_includes.py FILE...     checks these C files
    lint_includes.py --list      prints the order of common/, for ARCHITECTURE.md

1. Within common/ a file includes only modules above its own in ORDER. A module is noun.h with noun.c
   and whatever noun_*.c or noun_*.h it is split into.
2. planner/, executor/ and cli/ include their own headers and those of common/, never each other's.
3. Each foreign library is included by its door alone (DOORS). Tests and benchmarks may include anything.
4. Headers of ours are included as "dir/name.h" from the root, and exist.

If ARCHITECTURE.md quotes the order, between the lines <!-- common order --> and <!-- end -->, it
must be this one.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

ORDER = """
    outcome memory clock arena text buf uuid digest json log fault migrations
    yaml field pattern json_schema outbound config catalog message alone loop metrics health http sse
    pg pg_async store liveness heartbeat registry
    kafka offsets producer consumer lag daemon
""".split()

# The first words of a header's name, and the modules (or files elsewhere) that may include it.
DOORS = {
    "libpq-fe.h": ("common/pg", "common/pg_async"),
    "postgres_ext.h": ("common/pg", "common/pg_async"),
    "librdkafka/": ("common/kafka", "common/producer", "common/consumer", "common/lag", "cli/broker"),
    "curl/": ("common/http",),
    "yaml.h": ("common/yaml",),
    "pcre2.h": ("common/pattern",),
    "uv.h": ("common/loop",),
    "microhttpd.h": ("common/health",),
    "openssl/": ("common/digest",),
}

FREE = ("tests", "bench")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def module_of(path):
    """The module in ORDER that a path in common/ belongs to: its name, or its longest prefix."""
    stem = Path(path).stem
    while stem and stem not in ORDER:
        stem = stem.rpartition("_")[0]
    return stem


def check_door(path, header):
    for prefix, doors in DOORS.items():
        if not header.startswith(prefix):
            continue
        own = path.removesuffix(path[-2:])
        if not any(own == door or (own.startswith(door + "_") and not is_other_module(own, door)) for door in doors):
            yield f"<{header}> is for {', '.join(door + '.c' for door in doors)} alone"


def is_other_module(own, door):
    """Whether common/pg_async, say, is a module of its own and no part of common/pg."""
    return own.startswith("common/") and module_of(own) != Path(door).name


def check_own(path, header):
    """One include in quotes, as seen from the root."""
    folder, target = path.split("/")[0], header.split("/")[0]
    if "/" not in header or not (ROOT / header).exists():
        yield f'"{header}": headers are included from the root, as "common/buf.h"'
        return
    if folder in FREE:
        return
    if target not in (folder, "common"):
        yield f'"{header}": {folder}/ includes only itself and common/'
    elif folder == "common":
        mine, other = module_of(path), module_of(header)
        for file, module in ((path, mine), (header, other)):
            if not module:
                yield f"{file} is in no module of ORDER: add it there"
        if mine and other and ORDER.index(other) > ORDER.index(mine):
            yield f'"{header}": {other} comes after {mine} in the order of common/'


def check(path):
    for quote, header in INCLUDE.findall((ROOT / path).read_text(errors="replace")):
        if quote == '"':
            yield from check_own(path, header)
        elif path.split("/")[0] not in FREE:
            yield from check_door(path, header)


def check_architecture():
    page = ROOT / "ARCHITECTURE.md"
    text = page.read_text() if page.exists() else ""
    for quoted in re.findall(r"<!-- common order -->(.*?)<!-- end -->", text, re.S):
        if re.findall(r"[a-z]\w*", quoted) != ORDER:
            yield "the order of common/ differs from tools/lint_includes.py --list"


def main():
    if sys.argv[1:] == ["--list"]:
        print(", ".join(ORDER))
        return
    complaints = [f"ARCHITECTURE.md: {words}" for words in check_architecture()]
    for argument in sys.argv[1:]:
        complaints += [f"{argument}: {words}" for words in check(argument)]
    print("\n".join(complaints), end="\n" if complaints else "")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
