"""Truth: one float64 pass, every site recorded."""

import numpy as np
import torch

from .files import Trouble, described, round_to_40_bits, write_json, write_npz
from .arithmetic import Stock, orders
from .noise import DTYPES, FEEDS, feeds, measure_around
from .quantized import keep, noisy, true_order
from .taps import run


def truth_of(model, case, order=None, feed="own", enter=None):
    """{site: float64 array over all real rows}, in forward order, of every layer.

    `enter` {site: rows} replaces what is computed, after it was recorded, where the feed says so.
    """
    seen = {}

    def tap(site, tensor):
        rows = case.take(tensor, "all").double()
        if site.endswith(".scores"):  # transformers adds finfo.min; on disk "barred" is -inf
            rows = rows.masked_fill(case.barred_rows(), -np.inf)
        seen[site] = round_to_40_bits(rows.numpy())
        if feeds(feed, case, site):
            which = case.which_rows(site)
            case.put(tensor, which, torch.from_numpy(only(case, which, enter[site])))
        return tensor

    run(model.at("f64"), case, order or Stock(), tap)
    for site, rows in seen.items():
        bad = ~np.isfinite(rows) if not site.endswith(".scores") else np.isnan(rows) | (rows == np.inf)
        if bad.any():
            raise Trouble(f"{site} is not finite in float64", "the weights or the prompt are broken: no truth to store")
    return seen


def only(case, which, rows):
    """From an array over all rows to one over `which` rows."""
    index = {tuple(pair): n for n, pair in enumerate(case.rows["all"])}
    return rows[[index[tuple(pair)] for pair in case.rows[which]]]


def quantized_of(model, cases, truths, dtypes=DTYPES, variants=8):
    """For each case {arithmetic: (truth {feed/site: rows}, noise)}; empty for a model without blocks."""
    found = [{} for _ in cases]
    for arithmetic in model.blocks.widths() if model.blocks else ():
        order = true_order(model, arithmetic)
        around = [{feed: truth_of(model, case, order, feed, truth) for feed in FEEDS} for case, truth in zip(cases, truths)]
        kernel = lambda order, n, dtype, feed: noisy(order, n, model, dtype, feed, arithmetic)
        noises = measure_around(model, cases, around, truths, dtypes, list(orders(variants)), kernel)
        for case, here, own, noise in zip(cases, found, around, noises):
            here[arithmetic] = (keep(case, own, only), noise)
    return found


def write_case(model, case, directory, provenance, truth, noise, quantized):
    """reference.npz, noise.npz, the same for each quantised arithmetic and, last, manifest.json with all their hashes."""
    stored = {s: np.ascontiguousarray(only(case, case.which_rows(s), rows)) for s, rows in truth.items() if case.stores(s)}
    source = {"prompts": case.prompts} if case.messages is None else {"messages": case.messages, "prompts": case.prompts}
    rows_of = lambda name: case.which_rows(name.rsplit("/", 1)[-1])
    noises = {"dense": noise, **{name: around for name, (_, around) in quantized.items()}}
    manifest = {
        "format": 2, "model": model.name, "case": case.name, **source,
        "ids": case.input_ids.tolist(), "padding": case.pad, "lengths": case.lengths,
        "position_ids": case.position_ids.tolist(), "rows": case.rows, "sites": described(stored, "f8", rows_of),
        "noise_dtypes": list(DTYPES), "noise_feeds": list(FEEDS),
        "noise": {name: described(arrays, "f4") for name, arrays in noises.items()},
        "second_oracle": "pending", "provenance": provenance,
    }
    if quantized:
        manifest["quantized"] = {name: described(kept, "f8", rows_of) for name, (kept, _) in quantized.items()}
    write_npz(directory / "reference.npz", stored)
    write_npz(directory / "noise.npz", noise)
    for name, (kept, around) in quantized.items():
        write_npz(directory / f"quantized-{name}.npz", kept)
        write_npz(directory / f"quantized-{name}-noise.npz", around)
    write_json(directory / "manifest.json", manifest)
