#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.15.0",
#     "transformers==5.23.0",
#     "gguf==0.19.0",
#     "accelerate==1.15.0",
#     "tokenizers==0.23.3",
#     "safetensors==0.8.0",
#     "numpy==2.4.6",
#     "jinja2==3.1.6",
# ]
# ///
"""Checks that scripts/dump_torch.py records the right values, by comparing its recordings with stored
references.

    uv run scripts/prove_dump.py        tiny-llama and tiny-llama2, eager and sdpa, float32 and bfloat16

Every stored site of every case must be in the recording, in the model's dtype (except scores and
probabilities with sdpa, which must be absent). Each row must be within the harness's budget: 8 times the
noise measured for it, plus 4 ulps.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from transformers import LlamaForCausalLM

from capture import models
from capture.files import Trouble
from capture.noise import DTYPES, relative_error
from dump_torch import record

FIXTURES = models.REPOSITORY / "fixtures"
CASES = {"tiny-llama": ("single", "short", "long"), "tiny-llama2": ("short",)}  # one sequence each, no padding
DTYPES_PROVED = {"f32": 2.0**-23, "bf16": 2.0**-7}
OWN = 2  # index of feed `own` in site, block, own
HIDDEN_BY = {"eager": (), "sdpa": (".scores", ".probs")}


def dumped(model, ids, path):
    with torch.inference_mode(), record(path):
        model(input_ids=torch.tensor(ids))
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def rows_first(tensor, count):
    """The last `count` rows of [1, s, w] as [s, w], or of [1, h, s, d] as [s, h, d]."""
    alone = tensor[0].double()
    return (alone if alone.dim() == 2 else alone.transpose(0, 1)).numpy()[-count:]


def farthest(tensors, truth, noise, dtype, hidden):
    """The largest share of a budget over all sites, and the site."""
    worst = (0.0, "nothing")
    for site, want in truth.items():
        if site.endswith(hidden):
            if site in tensors:
                raise Trouble(f"{site} was recorded, but sdpa has none", "check what the hooks record")
            continue
        if site not in tensors:
            raise Trouble(f"{site} was not recorded", "check that transformers still computes it where the hooks are")
        got = rows_first(tensors[site], len(want))
        if site.endswith(".scores"):
            barred = np.isneginf(want)
            if ((got < np.finfo(np.float32).min / 4) != barred).any():
                raise Trouble(f"{site} masks other keys than the reference", "check how the hook reads the mask")
        rho = noise[site][list(DTYPES).index(dtype), OWN]  # [2], rope [2, places]
        rho = rho[:, -len(want):].T if rho.ndim == 2 else rho
        share = (relative_error(got, want) / (8 * rho + 4 * DTYPES_PROVED[dtype])).max()
        worst = max(worst, (float(share), site))
    return worst


def prove(name, case, attention, dtype):
    folder = FIXTURES / name / case
    with np.load(folder / "reference.npz") as stored, np.load(folder / "noise.npz") as measured:
        truth, noise = dict(stored), dict(measured)
    ids = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["ids"]
    model = LlamaForCausalLM.from_pretrained(FIXTURES / name, dtype=DTYPES[dtype], attn_implementation=attention).eval()
    with tempfile.TemporaryDirectory() as place:
        tensors, metadata = dumped(model, ids, Path(place) / "dump.safetensors")
    if tensors["input_ids"].tolist() != ids or metadata["attention"] != attention:
        raise Trouble(f"{name} {case}: the recording has other ids or another attention than the run", "check what the hooks record")
    floats = {site: tensor for site, tensor in tensors.items() if not site.endswith("_ids")}
    if any(tensor.dtype != DTYPES[dtype] for tensor in floats.values()):
        raise Trouble(f"{name} {case}: not all tensors are in {dtype}", "check what the hooks record")
    if extra := set(floats) - set(truth):
        raise Trouble(f"{name} {case}: {sorted(extra)[0]} is not a site", "use the names of src/probe/site.rs")
    share, site = farthest(floats, truth, noise, dtype, HIDDEN_BY[attention])
    good = share <= 1
    print(f"{'ok  ' if good else 'FAIL'}  {name} {case} {attention} {dtype}: {len(floats)} sites, "
          f"at most {share:.0%} of budget, at {site}")
    return good


def main():
    torch.set_num_threads(1)
    results = [prove(name, case, attention, dtype) for name, cases in CASES.items() for case in cases
               for attention in HIDDEN_BY for dtype in DTYPES_PROVED]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    try:
        main()
    except Trouble as trouble:
        print(f"error: {trouble}\nhint: {trouble.hint}", file=sys.stderr)
        sys.exit(2)
