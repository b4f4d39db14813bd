#!/usr/bin/python3
"""Runs clang-tidy on every C source of a build, in parallel, and only on what changed.

    lint_tidy.py --build DIR --stamps DIR --jobs N

A file is read again when its preprocessed text, the flags or a .clang-tidy differ from the last clean
pass: the stamp of a pass is the hash of all of these.
"""

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def sources(build):
    """(file, arguments) of all sources of this repository, not the generated ones."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = Path(entry["file"])
        if path.is_relative_to(build) or not path.is_relative_to(ROOT):
            continue
        yield path, entry["directory"], shlex.split(entry["command"])


def fingerprint(directory, arguments, config):
    """The hash of all that clang-tidy's verdict depends on; None when it does not preprocess."""
    if arguments[0].endswith("ccache"):
        arguments = arguments[1:]
    kept, skip = [], False
    for argument in arguments:
        if skip or argument in ("-o", "-MF", "-MT"):
            skip = not skip
        elif argument not in ("-c", "-MD", "-MMD"):
            kept.append(argument)
    done = subprocess.run(kept + ["-E"], cwd=directory, capture_output=True, check=False)
    if done.returncode != 0:
        return None
    return hashlib.sha256(config + " ".join(kept).encode() + done.stdout).hexdigest()


def tidy(job):
    path, directory, arguments, build, stamps, config = job
    name = path.relative_to(ROOT)
    stamp = stamps / str(name).replace("/", "__")
    now = fingerprint(directory, arguments, config)
    if now and stamp.exists() and stamp.read_text() == now:
        return name, 0, ""
    done = subprocess.run(
        ["clang-tidy", "--quiet", "-p", str(build), str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and now:
        stamp.write_text(now)
    # Standard error only counts suppressed warnings, unless the tool itself failed.
    return name, done.returncode, done.stdout + (done.stderr if done.returncode else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--stamps", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    options.stamps.mkdir(parents=True, exist_ok=True)
    build = options.build.resolve()
    config = b"".join((ROOT / name).read_bytes() for name in (".clang-tidy", "tests/.clang-tidy"))

    jobs = {str(path): (path, where, args, build, options.stamps, config) for path, where, args in sources(build)}
    bad = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for _, code, output in pool.map(tidy, jobs.values()):
            if code != 0:
                bad += 1
                print(output.strip())
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
