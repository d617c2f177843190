#!/usr/bin/env python3
"""Prints how the tiny model of each family does at every checkpoint: from its Hugging Face directory and its GGUF files, in
each data type, on both attention paths.

    cargo build --release
    python scripts/family_table.py

One line per run: how many checkpoints passed, and the largest share of a budget with its checkpoint. The exit code is 0
if every run passed and every share is under one half.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FAMILIES = ("llama3", "linear", "mistral", "qwen2", "qwen3", "gemma2", "gemma3")
LINE = re.compile(r"^  (PASS|FAIL|SKIP|VOID|OWN)\s+(\S+)\s+\S+\s+.*?(\d+)% of budget$", re.M)


def runs(family):
    """(what is run, its arguments)"""
    name = f"tiny-{family}"
    for dtype in ("f32", "bf16", "f16"):
        # Fused attention in half precision is slow on a CPU, but these models are small.
        yield f"HF {dtype}", ["--model", name, "--dtype", dtype]
    # A GGUF file does not state a Mistral's window, which its references have.
    if family != "mistral":
        file = REPOSITORY / f"fixtures/{name}/gguf/{name}-f16.gguf"
        yield "GGUF F16", ["--model", str(file), "--references", name]
    if family != "linear":
        for matmul in ("dense", "quantized"):
            yield f"GGUF Q8_0, {matmul}", ["--model", f"{name}:q8_0", "--matmul", matmul]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, metavar="FILE", help="rbees-check (default: in target/)")
    options = parser.parse_args()
    places = [REPOSITORY / "target" / kind / "rbees-check" for kind in ("release", "debug")]
    found = [options.program] if options.program else [place for place in places if place.is_file()]
    if not found:
        sys.exit("error: no rbees-check program\nhint: cargo build --release, or give --program")
    good = True
    print("| family | weights | attention | checkpoints | largest share of a budget |\n| --- | --- | --- | --- | --- |")
    for family in FAMILIES:
        for what, arguments in runs(family):
            for attention in ("plain", "fused"):
                done = subprocess.run(
                    [found[0], "run", "all", *arguments, "--attention", attention], capture_output=True, text=True)
                last = re.search(r"checkpoints: (.*)", done.stdout)
                shares = [(int(share), id) for _, id, share in LINE.findall(done.stdout)]
                share, id = max(shares, default=(100, "none"))
                good &= done.returncode == 0 and share < 50
                counts = last[1] if last else done.stderr.strip()
                print(f"| {family} | {what} | {attention} | {counts} | {share}% at {id} |", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
