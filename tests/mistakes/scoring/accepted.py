"""Which names of the program are true of which deviation: names.toml."""

import re
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parents[1]
NUMBER = r"(-?[0-9][0-9.e+-]*)(?![0-9/])"


class Accepted:
    """The table of true names."""

    def __init__(self, known):
        """`known` are all deviations: a table with a line for any other is refused."""
        with open(FOLDER / "names.toml", "rb") as file:
            table = tomllib.load(file)
        self.exact, self.of_class = table["exact"], table["class"]
        names, labels = {d.name for d in known}, {d.label for d in known}
        unknown = (self.exact.keys() - names) | (self.of_class.keys() - labels)
        if unknown:
            raise ValueError(f"names.toml: no such deviation or class: {', '.join(sorted(unknown))}")

    def truth(self, deviation, name):
        """`exact`, `class`, or None if the name is not true of the deviation."""
        if any(matches(line, name.mistake, name.says) for line in self.exact.get(deviation.name, [])):
            return "exact"
        if any(matches(line, name.mistake, name.says) for line in self.of_class.get(deviation.label, [])):
            return "class"
        lines = self.exact.get(deviation.name, []) + self.of_class.get(deviation.label, [])
        if any(matches(line, *other) for line in lines for other in name.same_as):
            return "class"
        return None


def matches(line, mistake, says):
    """Whether `line`, "mistake: part of the sentence", describes a name. In the part, {10000} is a number that is
    10000 within its printed interval, or its last digit, and 1 %, {<1e-6} one below 1e-6, and … any text.

    >>> matches("rope-theta: θ = {10000}", "rope-theta", "you used θ = 9999.8 ± 0.2; the config says 30000")
    True
    >>> matches("rope-theta: θ = {10000}", "rope-theta", "you used θ = 100000; the config says 30000")
    False
    >>> matches("rope-theta: θ = {10000}", "rope-scaling", "you used θ = 10000; the config says 30000")
    False
    >>> matches("norm-eps: ε = {2.34e-7}", "norm-eps", "you used ε = 2.4e-7; the config says 3e-5")
    True
    >>> matches("norm-eps: ε = {<1e-7}", "norm-eps", "you used ε = 6e-12 ± 4e-8; the config says 3e-5")
    True
    >>> matches("attention-scale: by {1}", "attention-scale", "you scale scores by 1/√hidden_size")
    False
    """
    wanted, _, part = line.partition(": ")
    if wanted != mistake:
        return False
    pieces = re.split(r"(\{.*?\})", part)
    pattern = "".join(
        NUMBER + f"(?: ± {NUMBER})?" if p.startswith("{") else re.escape(p).replace("…", ".*?") for p in pieces
    )
    found = re.search(pattern, says)
    numbers = [p[1:-1] for p in pieces if p.startswith("{")]
    return found is not None and all(agrees(want, *found.groups()[2 * n : 2 * n + 2]) for n, want in enumerate(numbers))


def agrees(want, printed, interval):
    """Whether a printed number, with its interval if it has one, is the wanted one."""
    printed = printed.rstrip(".")
    got = float(printed)
    if want.startswith("<"):
        return got < float(want[1:])
    value = float(want)
    mantissa, _, exponent = printed.partition("e")
    last_digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    allowed = 1.5 * float(interval.rstrip(".")) if interval else last_digit / 2
    return abs(got - value) <= allowed + 0.01 * abs(value)
