"""Tests the deviations themselves, without the program: that the correct port is correct, that each deviation first
shows where it says, and that two deviations give the same recording if and only if they are said to."""

import doctest
from itertools import combinations

import numpy as np

from . import accepted
from .inseparable import CORRECT, groups
from .planted import FIXTURES, Setting, correct, model, plant

SAME = 5e-6
"""Two tensors are the same up to rounding if no value differs by more than this part of the largest value."""
SETTINGS = [Setting(), Setting(layer=2)]


def run(chosen, known):
    """Prints every problem of the `chosen` deviations of all `known` ones. Returns the exit code."""
    single = [deviation for deviation in chosen if hasattr(deviation, "first_wrong")]
    problems = [*examples(), *port("tiny-llama"), *port("tiny-llama2"), *first_sites(single)]
    for taps in ("all", "sparse"):
        problems += same_recordings(single, Setting(taps=taps), groups(taps, known))
    print(*problems, f"{len(single)} deviations: {len(problems)} problems", sep="\n")
    return int(bool(problems))


def examples():
    """Examples in docstrings that fail; doctest prints them."""
    if failed := doctest.testmod(accepted).failed:
        yield f"{accepted.__name__}: {failed} examples fail"


def port(name):
    """Sites of the correct port that differ from PyTorch's references in float64."""
    sites = correct(name, "f32", "short")
    reference = np.load(FIXTURES / name / "short" / "reference.npz")
    if set(sites) != set(reference.files):
        yield f"{name}: other sites than those of the reference"
        return
    for site, x in sites.items():
        stored = reference[site]
        if not same(x, stored.transpose(1, 0, 2) if stored.ndim == 3 else stored):
            yield f"{name}: {site} of the correct port differs from the reference"


def first_sites(deviations):
    """Deviations that first show at another site than the one they name."""
    for setting in SETTINGS:
        for deviation in deviations:
            layers = model(deviation.model).config.layers
            layer = setting.layer if setting.layer is not None else int(deviation.at == "order")
            planted = plant(deviation, setting)
            if planted.first != deviation.first_wrong(layer, layers):
                yield f"{deviation.name} first shows at {planted.first}, {setting.flags()}"


def same_recordings(deviations, setting, listed):
    """Deviations that give the same recording although they are in different classes and in no group, or give
    different recordings although they are in one."""
    recorded = {deviation.name: plant(deviation, setting) for deviation in deviations}
    for one, two in combinations(deviations, 2):
        if one.model != two.model:
            continue
        a, b = recorded[one.name], recorded[two.name]
        said = one.label == two.label or any({one.name, two.name} <= set(group.members) for group in listed)
        if said != (a.first == b.first and equal(a.sites, b.sites)):
            verb = "are" if said else "are not"
            yield f"{one.name} and {two.name} {verb} said to give the same recording, {setting.flags()}"
    for group in listed:
        if CORRECT in group.members:
            for name in set(group.members) & set(recorded):
                right = correct("tiny-llama", setting.dtype, setting.prompt)
                if not equal(recorded[name].sites, right):
                    yield f"{name} is said to give the recording of a correct port, {setting.flags()}"


def equal(sites, others):
    """Whether two recordings are the same up to rounding, at every site of the first."""
    return all(name in others and same(x, others[name]) for name, x in sites.items())


def same(x, y):
    """Whether two tensors are the same up to rounding."""
    finite = np.isfinite(x)
    if not np.array_equal(finite, np.isfinite(y)):
        return False
    return np.abs(x[finite] - y[finite]).max(initial=0) <= SAME * np.abs(y[finite]).max(initial=0)
