#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "safetensors==0.8.0", "accelerate==1.15.0"]
# ///
"""Records a pass of transformers for the tiny model of each family, and judges it with `rbees-check run all --dump`.

    cargo build --release
    uv run scripts/prove_family_dumps.py                     every family; or name some: tiny-gemma3 ...

Per family: eager and sdpa attention, float32 and bfloat16. Each recording must pass with every one of its sites. Then one
mistake is made in transformers, in float32: the recording must fail, and that mistake must be the only one named.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from dump_torch import open_model, record

REPOSITORY = Path(__file__).parents[1]
IDS = [7, 300, 261, 320, 381, 270, 44, 12, 301, 77, 20]  # longer than the window of 5 tokens


def unscaled(model):
    rotary = model.model.rotary_emb
    steps = torch.arange(0, model.config.head_dim, 2) / model.config.head_dim
    rotary.inv_freq = model.config.rope_parameters["rope_theta"] ** -steps


def window_of_six(model):
    model.config.sliding_window = 6
    for layer in model.model.layers:
        layer.self_attn.sliding_window = 6


def no_bias(model):
    for layer in model.model.layers:
        layer.self_attn.v_proj.bias = None


def exchanged_norms(model):
    for layer in model.model.layers:
        attention = layer.self_attn
        attention.q_norm.weight.data, attention.k_norm.weight.data = attention.k_norm.weight.data, attention.q_norm.weight.data


def scale_of_heads(model):
    for layer in model.model.layers:
        layer.self_attn.scaling = layer.self_attn.head_dim**-0.5


def one_theta(model):
    rotary = model.model.rotary_emb
    rotary.sliding_attention_inv_freq = rotary.full_attention_inv_freq


# The mistake of each family, and its name.
MISTAKES = {
    "tiny-llama3": (unscaled, "rope-scaling"), "tiny-linear": (unscaled, "rope-scaling"),
    "tiny-mistral": (window_of_six, "sliding-window"), "tiny-qwen2": (no_bias, "bias-dropped"),
    "tiny-qwen3": (exchanged_norms, "norm-weight"), "tiny-gemma2": (scale_of_heads, "attention-scale"),
    "tiny-gemma3": (one_theta, "rope-theta"),
}


EAGER_ONLY = ("tiny-gemma2",)  # sdpa has no softcap


def recorded(name, dtype, attention, mistake, file):
    model = open_model(REPOSITORY / "fixtures" / name, dtype, attention)
    if mistake:
        mistake(model)
    with torch.inference_mode(), record(file):
        model(torch.tensor([IDS]), use_cache=False)


def judged(program, name, file):
    """The exit code, the coverage line and the names of the mistakes."""
    done = subprocess.run([program, "run", "all", "--dump", file, "--model", name], capture_output=True, text=True)
    coverage = re.search(r"coverage: (\d+ of \d+ sites)", done.stdout)
    named = sorted(set(re.findall(r"^ +suspect +([a-z-]+):", done.stdout, re.M)))
    return done.returncode, coverage[1] if coverage else done.stderr.strip(), named, done.stdout


def prove(program, name):
    good, (mistake, expected) = True, MISTAKES[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dump.safetensors"
        for attention in ("eager",) if name in EAGER_ONLY else ("eager", "sdpa"):
            for dtype in ("f32", "bf16"):
                recorded(name, dtype, attention, None, file)
                code, coverage, _, text = judged(program, name, file)
                share = max(map(int, re.findall(r"(\d+)% of budget", text)), default=0)
                print(f"{'ok  ' if code == 0 else 'FAIL'}  {name:<12} {attention:<5} {dtype:<4} {coverage}, at most {share}% of budget")
                good &= code == 0
                if code:
                    print(text)
        recorded(name, "f32", "eager", mistake, file)
        code, coverage, named, text = judged(program, name, file)
        caught = code == 1 and named == [expected]
        print(f"{'ok  ' if caught else 'FAIL'}  {name:<12} {mistake.__name__}: exit {code}, named {', '.join(named) or 'nothing'}")
        if not caught:
            print(text)
    return good & caught


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MISTAKES), metavar="MODEL", help=f"of {', '.join(MISTAKES)} (default: all)")
    parser.add_argument("--program", type=Path, metavar="FILE", help="rbees-check (default: in target/)")
    options = parser.parse_args()
    places = [REPOSITORY / "target" / kind / "rbees-check" for kind in ("release", "debug")]
    found = [options.program] if options.program else [place for place in places if place.is_file()]
    if not found:
        raise SystemExit("error: no rbees-check program\nhint: cargo build --release, or give --program")
    torch.set_num_threads(1)
    results = [prove(found[0], name) for name in options.models]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
