"""Deviations that no program can distinguish in some recordings: inseparable.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[1] / "inseparable.toml"
CORRECT = "a correct port"


@dataclass(frozen=True)
class Group:
    """Deviations that give the same recording, and why."""

    taps: str
    argument: str
    members: list[str]


def groups(taps, known):
    """The groups that hold for these taps. Fewer taps separate less, so groups of `all` hold for every recording."""
    with open(FILE, "rb") as file:
        every = [Group(**entry) for entry in tomllib.load(file)["group"]]
    names = {deviation.name for deviation in known} | {CORRECT}
    for group in every:
        if unknown := set(group.members) - names:
            raise ValueError(f"{FILE.name}: no such deviation: {', '.join(sorted(unknown))}")
    return [group for group in every if group.taps in ("all", taps)]


def group_of(name, among):
    """The group that contains this deviation."""
    return next((group for group in among if name in group.members), None)
