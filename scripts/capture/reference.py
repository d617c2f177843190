"""Truth: one float64 pass, every site recorded."""

import numpy as np

from .arithmetic import Stock
from .files import Trouble, round_to_40_bits, sha256_array, write_json, write_npz
from .noise import DTYPES, FEEDS
from .taps import run


def truth_of(model, case):
    """{site: float64 array over all real rows}, in forward order, of every layer."""
    seen = {}

    def tap(site, tensor):
        rows = case.take(tensor, "all").double()
        if site.endswith(".scores"):  # transformers adds finfo.min; on disk "barred" is -inf
            rows = rows.masked_fill(case.barred_rows(), -np.inf)
        seen[site] = round_to_40_bits(rows.numpy())
        return tensor

    run(model.at("f64"), case, Stock(), tap)
    for site, rows in seen.items():
        bad = ~np.isfinite(rows) if not site.endswith(".scores") else np.isnan(rows) | (rows == np.inf)
        if bad.any():
            raise Trouble(f"{site} is not finite in float64", "the weights or the prompt are broken: no truth to store")
    return seen


def only(case, which, rows):
    """From an array over all rows to one over `which` rows."""
    index = {tuple(pair): n for n, pair in enumerate(case.rows["all"])}
    return rows[[index[tuple(pair)] for pair in case.rows[which]]]


def write_case(model, case, directory, provenance, truth, noise):
    """reference.npz, noise.npz and, last, manifest.json."""
    stored = {s: np.ascontiguousarray(only(case, case.which_rows(s), rows)) for s, rows in truth.items() if case.stores(s)}
    sites = {
        site: {"rows": case.which_rows(site), "shape": list(rows.shape), "sha256": sha256_array(rows, "f8")}
        for site, rows in stored.items()
    }
    source = {"prompts": case.prompts} if case.messages is None else {"messages": case.messages, "prompts": case.prompts}
    manifest = {
        "format": 1, "model": model.name, "case": case.name, **source,
        "ids": case.input_ids.tolist(), "padding": case.pad, "lengths": case.lengths,
        "position_ids": case.position_ids.tolist(), "rows": case.rows, "sites": sites,
        "noise_dtypes": list(DTYPES), "noise_feeds": list(FEEDS), "second_oracle": "pending",
        "provenance": provenance,
    }
    write_npz(directory / "reference.npz", stored)
    write_npz(directory / "noise.npz", noise)
    write_json(directory / "manifest.json", manifest)
