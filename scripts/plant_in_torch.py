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
"""Plants porting mistakes in PyTorch, and stores what transformers then computes at every site.

    uv run scripts/plant_in_torch.py                        fixtures/torch-mistakes: 10 mistakes, and none
    uv run scripts/plant_in_torch.py --whole --out DIR      every stored site under every feed
    uv run scripts/plant_in_torch.py --dumps DIR            one pass per mistake, by dump_torch.py, for `run --dump`

(or `python` in a venv with the versions above.) The harness must catch these mistakes. The tensors do not
come from this project's code, nor from anyone's idea of a port. SmolLM2-135M runs its stored case `short` in
float32, with transformers' functions or weights patched. References replace the model's values according to
the feed, as in capture/noise.py.

OUT/<mistake>/dump.npz contains `<feed>/<site>`, float32, rows first as in reference.npz. `none` is the same
run without a mistake. Without --whole, a mistake's file contains only the arrays that are not bit-identical
to those of `none`.
"""

import argparse
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
os.environ |= {"TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

try:
    import numpy as np
    import torch
    from transformers.models.llama import modeling_llama as llama

    from capture import models, tokens
    from capture.arithmetic import Stock
    from capture.cases import Case
    from capture.files import Trouble, sha256_file, write_json, write_npz
    from capture.noise import FEEDS, feeds
    from capture.taps import run
    from capture.texts import FRANCE
    from dump_torch import record
except ImportError as missing:
    print(f"error: {missing}\nhint: `uv run scripts/plant_in_torch.py`, or install the packages listed at its top", file=sys.stderr)
    sys.exit(2)

SHORT = models.REPOSITORY / "fixtures/smollm2-135m/short"
TINY = models.REPOSITORY / "fixtures/tiny-llama"
OUT = models.REPOSITORY / "fixtures/torch-mistakes"
HONEST = "none"

# Each function returns what to replace while the model runs: (object, attribute, replacement).


def norm_eps(model):
    """ε is a tenth of the config's"""
    return [(norm, "variance_epsilon", norm.variance_epsilon / 10) for norm in norms(model)]


def norm_plus_one(model):
    """norms multiply with 1 + w"""
    return [(norm, "weight", parameter(norm.weight + 1)) for norm in norms(model)]


def rope_theta(model):
    """rope's θ is 10000, the default, where the config says 100000"""
    rotary = model.model.rotary_emb
    steps = torch.arange(0, model.config.head_dim, 2) / model.config.head_dim
    return [(rotary.config, "rope_parameters", model.config.rope_parameters | {"rope_theta": 1e4}),
            (rotary, "inv_freq", 1e4**-steps)]  # capture/ reads the first, transformers the second


def rope_pairing(model):
    """rope rotates the pairs (2i, 2i+1) of weights made for (i, i + head_dim/2)"""

    def rotate_neighbours(x):  # [..., head_dim]
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack((-odd, even), dim=-1).flatten(-2)

    def apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim=1):  # cos, sin [b, s, head_dim]: the half, twice
        each_twice = lambda t: t[..., : t.shape[-1] // 2].repeat_interleave(2, dim=-1).unsqueeze(unsqueeze_dim)
        cos, sin = each_twice(cos), each_twice(sin)
        return q * cos + rotate_neighbours(q) * sin, k * cos + rotate_neighbours(k) * sin

    return [(llama, "apply_rotary_pos_emb", apply_rotary_pos_emb)]


def head_map(model):
    """query head h looks at key head h mod kv_heads"""
    return [(llama, "repeat_kv", lambda kv, groups: kv.repeat(1, groups, 1, 1))]  # [b, kv_heads, t, head_dim]


def attention_scale(model):
    """scores are scaled by 1/√head_dim twice"""
    return [(layer.self_attn, "scaling", layer.self_attn.scaling**2) for layer in model.model.layers]


def mask_missing(model):
    """no mask is made"""
    return [(llama, "create_causal_mask", lambda **_: None)]


def gate_up_swapped(model):
    """gate_proj and up_proj are exchanged"""
    mlps = [layer.mlp for layer in model.model.layers]
    return [swap for mlp in mlps for swap in ((mlp, "gate_proj", mlp.up_proj), (mlp, "up_proj", mlp.gate_proj))]


def weight_transposed(model):
    """o_proj, which is square, is multiplied as [in, out]"""
    projections = [layer.self_attn.o_proj for layer in model.model.layers]
    return [(o_proj, "weight", parameter(o_proj.weight.t().contiguous())) for o_proj in projections]


def logit_row(model):
    """logits are those of the row before"""
    lm_head = model.lm_head

    def forward(hidden):  # [b, s, hidden]; the first row has none before it
        return type(lm_head).forward(lm_head, torch.cat((hidden[:, :1], hidden[:, :-1]), dim=1))

    return [(lm_head, "forward", forward)]


def none(model):
    """nothing is wrong: the control"""
    return []


# By the names of the mistakes in src/mistakes.
PLANTS = {plant.__name__.replace("_", "-"): plant for plant in (
    norm_eps, norm_plus_one, rope_theta, rope_pairing, head_map, attention_scale, mask_missing, gate_up_swapped,
    weight_transposed, logit_row)}


def norms(model):
    return [module for module in model.modules() if isinstance(module, llama.LlamaRMSNorm)]


def parameter(values):
    return torch.nn.Parameter(values.detach(), requires_grad=False)


def handed_over(model, plant, case, truth):
    """{"<feed>/<site>": float32 rows} at every stored site, for a run with this mistake under each feed."""
    seen = {}
    with ExitStack() as stack:
        for where, name, by_what in plant(model):
            stack.enter_context(mock.patch.object(where, name, by_what))
        for feed in FEEDS:

            def tap(site, tensor):
                if case.stores(site):
                    seen[f"{feed}/{site}"] = case.take(tensor, "all").numpy().copy()
                if feeds(feed, case, site):
                    case.put(tensor, "all", truth[site])
                return tensor

            run(model, case, Stock(), tap)
    return seen


def what_decides(dump):
    """The part of a recording that is enough to identify these mistakes: layer 0, a block, both ends of the model. Of the
    logits, only the last three rows are kept, since each is 0.2 MB; with three, a shift by one row shows in two pairs."""
    last = "model.layers.29"  # what the final norm is computed from
    ends = ("model.embed_tokens", last, "model.norm", "lm_head")
    kept = {
        "site": lambda site: site in ends or site == "model.layers.0" or site.startswith("model.layers.0."),
        "block": lambda site: site in ("model.embed_tokens", "model.layers.0"),
        "own": lambda site: site == "model.norm",
    }
    small = {}
    for name, rows in dump.items():
        feed, site = name.split("/")
        if kept[feed](site):
            small[name] = rows[-3:] if site == "lm_head" else rows
    return small


def make(model, case, truth, options):
    """Writes one recording for the correct run, then one per mistake."""
    keep = (lambda dump: dump) if options.whole else what_decides
    honest = keep(handed_over(model.stock, none, case, truth))
    write_npz(options.out / HONEST / "dump.npz", honest)
    for name, plant in PLANTS.items():
        dump = keep(handed_over(model.stock, plant, case, truth))
        if not options.whole:
            dump = {site: rows for site, rows in dump.items() if rows.tobytes() != honest[site].tobytes()}
        if not dump:
            raise Trouble(f"{name} changes nothing", "the patch no longer reaches transformers' code")
        write_npz(options.out / name / "dump.npz", dump)
        print(f"{name}: {len(dump)} tensors, {plant.__doc__}")
    provenance = model.provenance(f"python scripts/plant_in_torch.py{' --whole' * options.whole}")
    provenance |= {"plant_script_sha256": sha256_file(__file__), "attention": "eager, patched to be seen"}
    write_json(options.out / "manifest.json", {
        "format": 1, "model": model.name, "case": case.name, "dtype": "f32", "ids": case.input_ids.tolist(),
        "mistakes": {name: plant.__doc__ for name, plant in PLANTS.items()}, "provenance": provenance})


def dump(model, ids, options):
    """Records one pass with each mistake, like any other pass: DIR/<mistake>.safetensors"""
    options.dumps.mkdir(parents=True, exist_ok=True)
    for name, plant in {HONEST: none, **PLANTS}.items():
        if options.only in (None, name):
            with ExitStack() as stack:
                for where, what, by_what in plant(model.stock):
                    stack.enter_context(mock.patch.object(where, what, by_what))
                stack.enter_context(torch.inference_mode())
                stack.enter_context(record(options.dumps / f"{name}.safetensors"))
                model.stock(torch.tensor(ids), use_cache=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="default fixtures/torch-mistakes")
    parser.add_argument("--whole", action="store_true", help="every stored site under every feed (6 MB per mistake)")
    parser.add_argument("--dumps", type=Path, metavar="DIR", help="write whole passes for `rbees-check run --dump`")
    parser.add_argument("--only", choices=(HONEST, *PLANTS), help="with --dumps: record only this mistake")
    parser.add_argument("--tiny", action="store_true", help="with --dumps: use tiny-llama and its case short")
    options = parser.parse_args()
    torch.set_num_threads(1)  # like the capture of the references
    if options.dumps and options.tiny:
        short = json.loads((TINY / "short/manifest.json").read_text(encoding="utf-8"))
        return dump(models.Model("tiny-llama", TINY), short["ids"], options)
    model = models.Model("smollm2-135m", models.smollm2_path())
    if options.dumps:
        return dump(model, [tokens.ids_of(model, FRANCE)], options)
    case = Case("short", [tokens.ids_of(model, FRANCE)], [FRANCE], layers=[0, 1, 14, 29])
    with np.load(SHORT / "reference.npz") as stored:
        truth = {site: torch.from_numpy(stored[site]) for site in stored.files}
    make(model, case, truth, options)


if __name__ == "__main__":
    try:
        main()
    except Trouble as trouble:
        print(f"error: {trouble}\nhint: {trouble.hint}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"error: {error}\nhint: check that the folder can be read and written, and that the disk is not full", file=sys.stderr)
        sys.exit(2)
