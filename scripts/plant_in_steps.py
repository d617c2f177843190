#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "safetensors==0.8.0"]
# ///
"""Plants mistakes of decoding in PyTorch, and records every pass of five greedy steps of tiny-llama.

    uv run scripts/plant_in_steps.py --out DIR [--attention sdpa]

Each mistake of the catalogue that only shows with a cache gets a directory DIR/<mistake> with one recording per pass,
written by dump_torch.py; `none` has no mistake. Judge each with

    rbees-check run all --dump DIR/<mistake> --model tiny-llama
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

try:
    import torch
    from transformers.models.llama import modeling_llama as llama

    from dump_torch import open_model, record
except ImportError as missing:
    print(f"error: {missing}\nhint: `uv run scripts/plant_in_steps.py`, or install the packages listed at its top", file=sys.stderr)
    sys.exit(2)

TINY = Path(__file__).parent.parent / "fixtures/tiny-llama"
PROMPT = [1, 401, 269, 201, 298, 261, 343, 390, 14, 359, 81, 2, 201]
OTHER = [1, 17, 300, 42, 9, 201]
STEPS = 5


def greedy(model, ids=PROMPT, position=lambda cached: cached):
    """Five greedy tokens after the prompt, each at `position(the number of cached tokens)`."""
    out = model(torch.tensor([ids]), use_cache=True)
    for _ in range(STEPS):
        cached = out.past_key_values.get_seq_length()
        token = out.logits[:, -1:].argmax(-1)  # [1, 1]
        out = model(token, position_ids=torch.tensor([[position(cached)]]), past_key_values=out.past_key_values)
    return out


# Each function patches the model while `stack` is open, and returns what to record.


def none(model, stack):
    """nothing is wrong"""
    return lambda: greedy(model)


def decode_position(model, stack):
    """row 6: the position of every decoded token is 0"""
    return lambda: greedy(model, position=lambda cached: 0)


def decode_position_inside(model, stack):
    """row 6: the caller counts right, but the model rotates every decoded token by position 0"""
    rotary, stock = model.model.rotary_emb, model.model.rotary_emb.forward
    here = lambda x, position_ids: stock(x, position_ids if position_ids.shape[1] > 1 else position_ids * 0)
    stack.enter_context(mock.patch.object(rotary, "forward", here))
    return lambda: greedy(model)


def shared_counter(model, stack):
    """row 7: in decoding, every layer but the first rotates by one position too many"""
    stock, state = llama.apply_rotary_pos_emb, {"layer": 0, "ahead": None}
    rotary, angles = model.model.rotary_emb, model.model.rotary_emb.forward

    def forward(x, position_ids):
        state["ahead"] = angles(x, position_ids + 1) if position_ids.shape[1] == 1 else None
        return angles(x, position_ids)

    for layer in model.model.layers:
        enter = lambda module, _inputs: state.update(layer=module.layer_idx)
        stack.callback(layer.self_attn.register_forward_pre_hook(enter).remove)

    def apply_rotary_pos_emb(q, k, cos, sin, **named):
        if state["ahead"] is not None and state["layer"] > 0:
            cos, sin = state["ahead"]
        return stock(q, k, cos, sin, **named)

    stack.enter_context(mock.patch.object(rotary, "forward", forward))
    stack.enter_context(mock.patch.object(llama, "apply_rotary_pos_emb", apply_rotary_pos_emb))
    return lambda: greedy(model)


def uncached_position(model, stack):
    """row 8: without a cache, every step feeds the whole text again, but counts positions on"""

    def run():
        ids, fed = list(PROMPT), 0
        for _ in range(1 + STEPS):
            positions = torch.arange(fed, fed + len(ids))[None]
            out = model(torch.tensor([ids]), position_ids=positions, use_cache=False)
            fed += len(ids)
            ids.append(int(out.logits[0, -1].argmax()))

    return run


def mask_square(model, stack):
    """row 11: with a cache, query i of the call sees only keys j <= i; the prompt runs in two chunks"""

    def create_causal_mask(*, inputs_embeds, past_key_values=None, **_):
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        s = inputs_embeds.shape[1]
        seen = torch.ones(s, past + s, dtype=torch.bool).tril()  # [s, t], aligned to the upper left corner
        return torch.zeros(1, 1, s, past + s).masked_fill(~seen, torch.finfo(torch.float32).min)

    stack.enter_context(mock.patch.object(llama, "create_causal_mask", create_causal_mask))

    def run():
        out = model(torch.tensor([PROMPT[:8]]), use_cache=True)
        positions = torch.arange(8, len(PROMPT))[None]
        model(torch.tensor([PROMPT[8:]]), position_ids=positions, past_key_values=out.past_key_values)

    return run


def cache_kept(model, stack):
    """row 33: the cache of one prompt is kept for the next, whose positions begin at 0 again"""

    def run():
        out = greedy(model)
        positions = torch.arange(len(OTHER))[None]
        model(torch.tensor([OTHER]), position_ids=positions, past_key_values=out.past_key_values)

    return run


MISTAKES = (none, decode_position, decode_position_inside, shared_counter, uncached_position, mask_square, cache_kept)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="eager")
    options = parser.parse_args()
    for mistake in MISTAKES:
        model = open_model(TINY, "f32", options.attention)
        name = mistake.__name__.replace("_", "-")
        with torch.inference_mode(), ExitStack() as stack:
            run = mistake(model, stack)
            with record(options.out / name, "all"):
                run()
        print(f"{options.out / name}: {mistake.__doc__}", file=sys.stderr)


if __name__ == "__main__":
    main()
