"""The results of several settings as a Markdown document."""

from .grade import HIDDEN, TIMES, ULPS
from .table import inseparable

INTRO = """\
# How well mistakes are identified

`tests/mistakes/` contains a Llama in numpy that was written from the papers and shares no code with rbees-check, and
{single} mistakes that can be planted in it, alone or as {pairs} pairs of two. They were collected from the operations
of the model and from public bug reports, not from what rbees-check can name. This document shows what `run --dump`
prints about recordings of `tiny-llama` with each of them (of `tiny-llama2` for missing transposes, which need square
matrices). The program was {program}.

    {command}

writes it again. `tests/mistakes/score.py --only NAME --show` with the flags of a setting repeats one row.

**First site**: whether the first wrong operation that is printed is the one with the mistake. `later`: the error there
may be hidden by rounding errors, and a later operation is printed: it is at most {hidden} ulps, or at most {ulps} ulps and
{times} times the rounding error of the correct port at this site. `none`: nothing fails.

**Names**: `exact`: the sentence describes the mistake. `class`: it describes an algebraically equal mistake, or leaves
open which of several it is. `narrowed`: a true name and others are given as alternatives. `one of two`: only one
mistake of a pair is named. `unexplained`: no name. `wrong`: a name that is not true of the port. `passed`: nothing
fails. `no effect`: in this dtype the mistake changes no recorded value. `tests/mistakes/names.toml` says which names
are true of which mistake.

**Inseparable**: how many of the mistakes without a true name give the same recording as another one, up to rounding.
The arguments are below. A sparse recording contains q_rope, k_rope, v_proj, context and the output of each layer, and
the logits.
"""


def text(results, program, command):
    """The document about these results."""
    deviations = {row.deviation.name: row.deviation for result in results for row in result.rows}
    pairs = sum(deviation.operation == "pair" for deviation in deviations.values())
    single = len(deviations) - pairs
    parts = [
        INTRO.format(single=single, pairs=pairs, program=program, command=command, hidden=HIDDEN, ulps=ULPS, times=TIMES),
        overview(results),
        section("Wrong names", wrong_names(results)),
        section("Wrong first sites", wrong_sites(results)),
        section("Not found", not_found(results)),
        section("Inseparable", arguments(results)),
        *(f"## Setting {n}\n\n{markdown(result.summary())}\n" for n, result in enumerate(results, 1)),
        every(results, deviations),
    ]
    return "\n".join(parts)


def markdown(lines):
    """A table of these lines of cells."""
    head, *rest = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    rows = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def section(title, lines):
    return "\n".join([f"## {title}\n", *([f"- {line}" for line in lines] or ["None."])]) + "\n"


def overview(results):
    """One row for each setting: its flags, the correct port, and the numbers of all deviations."""
    lines = [["setting", "flags", "correct port", *results[0].summary()[0][1:]]]
    for n, result in enumerate(results, 1):
        verdict = "passes" if result.correct.exit_code == 0 else "**fails**"
        lines.append(
            [n, f"`{result.setting.flags()}`", f"{verdict}, {result.correct.coverage}", *result.summary()[-1][1:]]
        )
    return markdown(lines) + "\n"


def by_deviation(results, chosen):
    """The rows that `chosen` holds for: the name of each deviation, with its rows and the numbers of their settings."""
    found = {}
    for n, result in enumerate(results, 1):
        for row in filter(chosen, result.rows):
            found.setdefault(row.deviation.name, []).append((n, row))
    for name, rows in found.items():
        numbers = ", ".join(str(n) for n, _ in rows)
        n, row = rows[0]
        yield row, f"In setting{'s' * (len(rows) > 1)} {numbers}: `--only '{name}' {results[n - 1].setting.flags()}`"


def wrong_names(results):
    """Each wrong name, with what the port really does and the command that repeats it."""
    for row, where in by_deviation(results, lambda row: row.grade == "wrong"):
        names = dict.fromkeys(f"{name.mistake}: {name.says}" for name, truth, _ in row.truths if not truth)
        quoted = "; ".join(f"“{name}”" for name in names)
        yield f"The port {row.deviation.says}. Named: {quoted}. {where}"


def wrong_sites(results):
    for row, where in by_deviation(results, lambda row: row.first == "wrong"):
        yield f"{row.answer.first_wrong}, not {row.expected}. {where}"


def not_found(results):
    """What passes, with the size of the error, and what the program refuses."""
    for row, where in by_deviation(results, lambda row: row.grade == "passed"):
        yield f"The port {row.deviation.says}: {row.effect:.3g} ulps at {row.expected}. {where}"
    for row, where in by_deviation(results, lambda row: row.grade == "not judged"):
        yield f"The port {row.deviation.says}: not judged: {' '.join(row.answer.message.split())}. {where}"


def arguments(results):
    """Why some deviations cannot be distinguished."""
    named = {row.deviation.name: row.inseparable for result in results for row in inseparable(result.rows)}
    for reason in dict.fromkeys(named.values()):
        yield f"{', '.join(name for name, other in named.items() if other == reason)}: {reason}"


def every(results, deviations):
    """One row for each deviation that is not unexplained in every setting; the others as lists."""
    by_name = [{row.deviation.name: row for row in result.rows} for result in results]
    rows, silent = [["mistake", "what the port does", *(str(n) for n in range(1, len(results) + 1))]], {}
    for name, deviation in deviations.items():
        cells = [cell(rows_of.get(name)) for rows_of in by_name]
        if set(cells) <= {"unexplained", "–"}:
            silent.setdefault(deviation.operation, []).append(name)
        else:
            rows.append([name, deviation.says, *cells])
    lines = [f"{operation} ({len(names)}): {', '.join(names)}" for operation, names in silent.items()]
    return f"## Each mistake\n\nBy setting:\n\n{markdown(rows)}\n\n{section('Unexplained in every setting', lines)}"


def cell(row):
    if row is None:
        return "–"
    return f"{row.grade}, first site {row.first}" if row.first in ("later", "wrong") else row.grade
