#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# ///
"""Times the commands of docs/speed.md with two builds of rbees-check, in alternating runs.

    python scripts/speed.py OLD NEW [--runs 5] [--dump recording.safetensors]

OLD and NEW are programs. Prints a Markdown table of medians: wall time and processor time in seconds. The
machine should be idle. SmolLM2 must be installed (`scripts/fetch_smollm2.sh`).
"""

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = [
    ["run", "all"],
    ["run", "03"],
    ["selftest"],
    ["run", "all", "--model", "smollm2-135m"],
]
VERDICTS = Path.home() / ".cache/rbees-check/verdicts"
GENERATE = ["generate", "The sky is", "--model", "smollm2-135m", "--temperature", "0", "--max-tokens", "1"]


def timed(program, command):
    """Wall and processor seconds of one run; exits if it fails."""
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.run([program, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code != 0:
        sys.exit(f"{program} {' '.join(command)}: exit code {code}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - begin, cpu


def row(name, programs, runs, command, prepare=lambda: None):
    """One line of the table."""
    times = {program: [] for program in programs}
    for _ in range(runs):
        for program in programs:
            prepare()
            times[program].append(timed(program, command))
    cells = []
    for program in programs:
        wall, cpu = (statistics.median(column) for column in zip(*times[program]))
        cells.append(f"{wall:.2f} ({cpu:.2f})")
    print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dump", help="also time `run --dump` on this recording of SmolLM2")
    asked = parser.parse_args()
    programs = [str(Path(program).resolve()) for program in (asked.old, asked.new)]
    print("| command | old: wall (processor), s | new: wall (processor), s |\n| --- | --- | --- |", flush=True)
    for command in COMMANDS:
        row(" ".join(command), programs, asked.runs, command)
    if asked.dump:
        row("run --dump", programs, asked.runs, ["run", "--dump", asked.dump, "--model", "smollm2-135m"])
    row("generate, first", programs, asked.runs, GENERATE, lambda: shutil.rmtree(VERDICTS, ignore_errors=True))
    row("generate, later", programs, asked.runs, GENERATE)


if __name__ == "__main__":
    main()
