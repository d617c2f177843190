"""How far from truth does PyTorch itself land?

The same case in f32, bf16 and f16, with stock arithmetic (float32 rope angles included: their error at
far positions *is* noise), under the same three feeds as a port is judged:

    site   truth enters after every stored site: each operation is judged on clean inputs
    block  truth enters at each block's input
    own    nowhere

and in eight orders of summation, because one run is too lucky: a plain sequential loop, honest as it is,
lands up to twenty times farther from truth than PyTorch's own blocked sums. Fused attention is measured too: under
feed `site`, its context is computed from true queries, keys and values, not from true probabilities, so its error is
that of three operations, up to seven times larger.
"""

import numpy as np
import torch

from .arithmetic import fused_orders, orders
from .taps import run

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
FEEDS = ("site", "block", "own")


def is_block_input(site):
    parts = site.split(".")
    return site == "model.embed_tokens" or (parts[:2] == ["model", "layers"] and len(parts) == 3)


def feeds(feed, case, site):
    """Does truth replace this site's stored rows?"""
    return case.stores(site) and (feed == "site" or (feed == "block" and is_block_input(site)))


def keeps_rows(site):
    """Rope's noise grows with the position, so it is kept for each row."""
    return site.endswith((".q_rope", ".k_rope"))


def relative_error(got, want):
    """[rows, 2]: max and RMS of a row's error over max and RMS of that row's truth.

    Only finite truth counts: barred scores are -inf and have no error. One scale a row, never one a
    tensor: position 0 of a trained model may carry values ten times those of the others.
    """
    got, want = got.reshape(len(want), -1), want.reshape(len(want), -1)
    counted = np.isfinite(want)
    truth = np.where(counted, want, 0.0)
    error = np.where(counted, np.abs(got - truth), 0.0)
    error[np.isnan(error)] = np.inf
    count = counted.sum(-1)
    pairs = [(error.max(-1), np.abs(truth).max(-1)),
             (np.sqrt((error**2).sum(-1) / count), np.sqrt((truth**2).sum(-1) / count))]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([np.where(e == 0, 0.0, e / scale) for e, scale in pairs], -1)


def measure(model, cases, truths, dtypes=DTYPES, variants=8):
    """Noise of each case around `truths`, one {site: rows} a case: the same under every feed."""
    everywhere = [dict.fromkeys(FEEDS, truth) for truth in truths]
    every = [*orders(variants), *(fused_orders() if variants > 1 else ())]
    return measure_around(model, cases, everywhere, truths, dtypes, every, lambda order, *_: order)


def measure_around(model, cases, truths, fed, dtypes, variants, kernel):
    """For each case {site: float32 [dtype, feed, (max, rms)]}; rope sites have a last axis of rows.

    `variants` are the orders of summation. `truths` are {feed: {site: rows}}, what is compared with; `fed` {site: rows}, what replaces. `kernel` makes of
    an order of summation, its number, dtype and feed what is run. Many cases are measured together, as each
    order's shuffled weights are made once.
    """
    noises = [{
        site: np.full((len(DTYPES), len(FEEDS), 2) + ((len(rows),) if keeps_rows(site) else ()), np.nan)
        for site, rows in enter.items()
    } for enter in fed]
    for d, dtype in enumerate(DTYPES):
        if dtype not in dtypes:
            continue  # stays NaN: not measured
        for noise in noises:
            for array in noise.values():
                array[d] = 0.0
        for n, order in enumerate(variants):
            for case, truth, enter, noise in zip(cases, truths, fed, noises):
                for f, feed in enumerate(FEEDS):
                    tap = _judge(case, truth[feed], enter, noise, feed, (d, f))
                    run(model.at(dtype), case, kernel(order, n, dtype, feed), tap)
    return [{site: array.astype(np.float32) for site, array in noise.items()} for noise in noises]


def _judge(case, truth, enter, noise, feed, at):
    """A tap that records the error and then, where the feed says so, overwrites with what enters."""
    tail = None
    if case.tail:
        chosen = set(map(tuple, case.rows["tail"]))
        tail = np.array([tuple(pair) in chosen for pair in case.rows["all"]])

    def tap(site, tensor):
        want, which = truth[site], case.which_rows(site)
        errors = relative_error(case.take(tensor, "all").double().numpy(), want)  # [rows, 2]
        if keeps_rows(site):
            worst = errors.T  # [2, rows]
        else:
            worst = errors[tail if which == "tail" else slice(None)].max(0)  # [2]
        noise[site][at] = np.maximum(noise[site][at], worst)
        if feeds(feed, case, site):
            rows = enter[site][tail] if which == "tail" else enter[site]
            case.put(tensor, which, torch.from_numpy(rows))
        return tensor

    return tap
