#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "numpy==2.4.6",
#     "safetensors==0.8.0",
# ]
# ///
"""Scores how well rbees-check identifies mistakes in the recordings of a port.

    uv run tests/mistakes/score.py                                      float32, all sites, planted in every layer
    uv run tests/mistakes/score.py --layer 2 --dtype bf16 --taps sparse
    uv run tests/mistakes/score.py --only norm-eps-1e-6 --show          with what the program prints
    uv run tests/mistakes/score.py --document docs/identification.md    the standard settings, as a document
    uv run tests/mistakes/score.py --check                              tests the deviations themselves

(or `python` in a venv with the versions above.) The recordings come from a small Llama in numpy, in port/. Its
mistakes are in deviations/. Neither shares code with the program. names.toml says which names of the program are
true of which deviation.

Exit code: 0; 1 if a name is wrong, if another site than the first wrong one is given, if nothing fails although the
error is larger than rounding errors, or if the correct port fails; 2 if the program cannot be run.
"""

import argparse
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

try:
    from deviations import PAIRS, SINGLE
    from scoring import check, document, table
    from scoring.judged import Judge
    from scoring.planted import Setting, model
    from scoring.program import version
except ImportError as missing:
    print(
        f"error: {missing}\nhint: `uv run tests/mistakes/score.py`, or install the packages listed at its top",
        file=sys.stderr,
    )
    sys.exit(2)

COMMAND = "uv run tests/mistakes/score.py --program target/release/rbees-check --document docs/identification.md"
STANDARD = [
    Setting(),
    Setting(layer=2),
    Setting(dtype="bf16"),
    Setting(taps="sparse"),
    Setting(taps="sparse", dtype="bf16"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="rbees-check", help="the program (default: rbees-check on the PATH)")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only the deviation of this name, or those whose name contains TEXT"
    )
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="what the port computes in")
    parser.add_argument(
        "--taps",
        choices=["all", "sparse"],
        default="all",
        help="record all sites, or q_rope, k_rope, v_proj, context and output of each layer, and the logits",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--everywhere", action="store_true", help="plant in every layer (the default)")
    where.add_argument("--layer", type=int, metavar="N", help="plant in layer N only")
    parser.add_argument(
        "--prompt", default="short", metavar="CASE", help="a stored case, or a number of pseudo-random tokens"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the recordings in this directory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--show", action="store_true", help="print what the program prints about each recording")
    parser.add_argument(
        "--document", type=Path, metavar="FILE", help="run the standard settings, and write a Markdown document"
    )
    parser.add_argument("--check", action="store_true", help="test the deviations without the program")
    args = parser.parse_args()

    every = [*SINGLE, *PAIRS]
    chosen = [deviation for deviation in every if deviation.name == args.only]
    chosen = chosen or [deviation for deviation in every if args.only in deviation.name]
    if not chosen:
        parser.error(f"--only {args.only}: no deviation has such a name")
    if args.layer is not None and not 0 <= args.layer < min(model(d.model).config.layers for d in chosen):
        parser.error(f"--layer {args.layer}: the models have no such layer")
    if args.check:
        return check.run(chosen, every)
    settings = STANDARD if args.document else [Setting(args.dtype, args.taps, args.layer, args.prompt)]
    results = [judge_all(chosen, setting, args) for setting in settings]
    if args.document:
        args.document.write_text(document.text(results, version(args.program), COMMAND), encoding="utf-8")
    if args.json:
        content = [result.as_json() for result in results]
        args.json.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return int(any(result.failures() for result in results))


def judge_all(chosen, setting, args):
    """The results of all deviations in one setting, in order; they are printed."""
    with tempfile.TemporaryDirectory() as temporary:
        judge = Judge(args.program, setting, args.keep or Path(temporary), [*SINGLE, *PAIRS])
        wanted = [deviation for deviation in chosen if judge.applies(deviation)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            rows = []
            for row in pool.map(judge.row, wanted):
                rows.append(row)
                progress(len(rows), len(wanted), setting)
        result = table.Result(setting, judge.correct(), rows)
    print(result.text(show=args.show), flush=True)
    return result


def progress(done, of, setting):
    """One line on stderr that is overwritten, if a person is watching."""
    if sys.stderr.isatty():
        print(f"\r{done} of {of}, {setting.flags()}", end="\n" if done == of else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
