"""Grades an answer of the program about one planted deviation."""

from itertools import groupby

GRADES = ["exact", "class", "narrowed", "one of two", "unexplained", "wrong", "passed", "not judged", "no effect"]
BEST_FIRST = ["exact", "class", "narrowed", "unexplained"]
HIDDEN = 8
"""An error of so many ulps may be hidden by the rounding errors of a correct port: budgets are 4 ulps and a multiple of
the measured error of correct ports, which is half an ulp where one operation is recomputed."""
ULPS, TIMES = 4, 8
"""Where several operations are recomputed, their rounding errors add up: an error of 4 ulps and 8 times that of the
correct port may be hidden."""


def first_site(planted, answer):
    """Whether the program finds the first wrong site: `right`; `none`, if it finds nothing; `later`, if the error there
    may be hidden by rounding errors and it finds a later site; otherwise `wrong`."""
    if answer.first_wrong in (planted.first, None):
        return "right" if answer.first_wrong else "none"
    return "later" if planted.effect <= hidden(planted) else "wrong"


def hidden(planted):
    """How many ulps may be hidden where the deviation shows first."""
    return max(HIDDEN, ULPS + TIMES * planted.noise)


def named(deviation, answer, accepted):
    """The grade of the names, and each name with its truth."""
    parts = getattr(deviation, "parts", (deviation,))
    truths = [(name, *true_of(parts, name, accepted)) for name in answer.names]
    if answer.exit_code == 2:
        return "not judged", truths
    if answer.exit_code == 0:
        return "passed", truths
    grades = [of_site(list(group)) for _, group in groupby(truths, key=lambda truth: truth[0].site)]
    if "wrong" in grades:
        return "wrong", truths
    found = {part for _, truth, part in truths if truth}
    if len(found) < len(parts) and found:
        return "one of two", truths
    return min(grades or ["unexplained"], key=BEST_FIRST.index), truths


def true_of(parts, name, accepted):
    """How true a name is of any of the parts, and of which. `accepted(part, name)` is how true it is of one."""
    for part in parts:
        if truth := accepted(part, name):
            return truth, part.name
    return None, None


def of_site(truths):
    """The grade of the names of one site. Names at the same distance are one hypothesis of two mistakes; other
    names are alternatives. If only some of the alternatives are true, they narrow it down."""
    hypotheses = {}
    for number, (name, truth, _) in enumerate(truths):
        hypotheses.setdefault(name.residual or -number, []).append(truth)
    grades = [
        None if None in hypothesis else max(hypothesis, key=BEST_FIRST.index) for hypothesis in hypotheses.values()
    ]
    if not any(grades):
        return "wrong"
    return max(grades, key=BEST_FIRST.index) if all(grades) else "narrowed"
