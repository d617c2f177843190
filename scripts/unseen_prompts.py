#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.15.0",
#     "transformers==5.23.0",
#     "gguf==0.19.0",
#     "accelerate==1.15.0",  # transformers needs it to read GGUF
#     "tokenizers==0.23.3",
#     "safetensors==0.8.0",
#     "numpy==2.4.6",
#     "jinja2==3.1.6",  # chat templates
# ]
# ///
"""Judges this project's correct model on prompts that no fixture has, and prints the largest share of a budget per site.

    uv run scripts/unseen_prompts.py tiny-llama --prompts 100 --out DIR [--dtypes f32,bf16,f16] [--program rbees-check]

The prompts are pieces of this repository's own texts, of 1 to 40 words, chosen by a fixed seed. References are captured
as for fixtures, in DIR/NNN; then `rbees-check run` judges them in each dtype, with plain and with fused attention. A
correct model must stay under half of every budget: the exit code is 1 if something fails or uses more.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ |= {"TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

try:
    from capture import models
    from capture_reference import make_case, open_model
    from capture.noise import measure
    from capture.reference import truth_of, write_case
except ImportError as missing:
    print(f"error: {missing}\nhint: `uv run scripts/unseen_prompts.py`, or install the packages listed at its top", file=sys.stderr)
    sys.exit(2)

TEXTS = ("README.md", "CONTRIBUTING.md", "docs/dump-format.md", "docs/candle-findings.md", "LICENSE-APACHE", "src/lib.rs")
CHECKPOINTS = ("01", "01B", "02", "03", "05", "06", "07")


def prompts(count):
    words = " ".join((models.REPOSITORY / name).read_text(encoding="utf-8") for name in TEXTS).split()
    dice = random.Random(2026)
    for _ in range(count):
        length, start = dice.randint(1, 40), dice.randrange(len(words))
        yield " ".join(words[start : start + length])


def capture(name, count, out, layers, dtypes):
    """Captures the references of each prompt, with the noise of these dtypes, unless they are there."""
    model = open_model(name)
    depth = model.config.num_hidden_layers
    which = dict(layers=layers or list(range(depth)))
    places = [out / f"{n:03}" for n in range(count)]
    for place, prompt in zip(places, prompts(count)):
        if (place / "manifest.json").exists():
            continue
        case = make_case(model, place.name, prompts=[prompt], cut=64, **which)
        truth = truth_of(model, case)
        noise = measure(model, [case], [truth], dtypes)[0]
        write_case(model, case, place, model.provenance("scripts/unseen_prompts.py"), truth, noise, {})
        print(place, file=sys.stderr)
    return places


def judge(program, name, places, dtype):
    """The findings of a run, as in its JSON report."""
    cases = [argument for place in places for argument in ("--case", str(place))]
    command = [program, "run", *CHECKPOINTS, "--model", name, *cases, "--dtype", dtype, "--report", "json=-"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command[:3])}: {done.stderr.strip().splitlines()[-1]}")
    report = json.loads(done.stdout)
    return [finding for checkpoint in report["checkpoints"] for finding in checkpoint["findings"]]


def table(findings):
    """{(kind of site, path and feed): (the largest share, its place)}, and what failed."""
    most, failed = defaultdict(lambda: (0.0, "")), []
    for finding in findings:
        if not finding["site"]:
            continue
        kind = re.sub(r"^model\.layers\.\d+\.?", "", finding["site"]) or "block"
        place = f"{finding['site']} of {finding['case']}"
        if finding["status"] == "passed":
            key = (kind, finding["drive"])
            most[key] = max(most[key], (finding["verdict"]["share"], place))
        elif finding["status"] == "failed":
            failed.append(f"{place} ({finding['drive']})")
    return most, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dtypes", default="f32,bf16,f16")
    parser.add_argument("--layers", type=lambda text: [int(layer) for layer in text.split(",")], help="default: all")
    parser.add_argument("--program", default="rbees-check", metavar="FILE")
    options = parser.parse_args()
    dtypes = options.dtypes.split(",")
    places = capture(options.model, options.prompts, options.out, options.layers, dtypes)
    wrong = False
    for dtype in dtypes:
        findings = []
        for n in range(0, len(places), 20):
            findings += judge(options.program, options.model, places[n : n + 20], dtype)
        most, failed = table(findings)
        print(f"\n{options.model}, {dtype}, {len(places)} prompts, {len(findings)} comparisons, {len(failed)} failed")
        for (kind, drive), (share, place) in sorted(most.items(), key=lambda entry: -entry[1][0])[:12]:
            print(f"  {share:6.1%}  {kind:32} {drive:24} {place}")
        for place in failed[:5]:
            print(f"  FAIL    {place}")
        wrong |= bool(failed) or any(share > 0.5 for share, _ in most.values())
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
