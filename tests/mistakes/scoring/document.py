"""The results of several settings as a Markdown document."""

from .table import inseparable

INTRO = """\
# How well mistakes are identified

`tests/mistakes/` contains a Llama in numpy that was written from the papers and shares no code with rbees-check, and
{single} mistakes that can be planted in it, alone or as {pairs} pairs of two. They were collected from the operations
of the model and from public bug reports, not from what rbees-check can name. This document shows what `run --dump`
prints about recordings of `tiny-llama` with each of them (of `tiny-llama2` for missing transposes, which need square
matrices). The program was {program}.

    {command}

writes it again. `tests/mistakes/score.py --only NAME --show` with the flags of a table repeats one row.

**First site**: whether the first wrong operation that is printed is the one with the mistake. `later`: the error there
may be hidden by rounding errors ({hidden} ulps or less), and a later operation is printed. `none`: nothing fails.

**Names**: `exact`: the sentence describes the mistake. `class`: it describes an algebraically equal mistake, or leaves
open which of several it is. `narrowed`: a true name and others are given as alternatives. `one of two`: only one
mistake of a pair is named. `unexplained`: no name. `wrong`: a name that is not true of the port. `passed`: nothing
fails. `no effect`: in this dtype the mistake changes no recorded value. `tests/mistakes/names.toml` says which names
are true of which mistake.

**Inseparable**: how many of the mistakes without a true name give the same recording as another one, up to rounding.
The arguments are below. A sparse recording contains q_rope, k_rope, v_proj, context and the output of each layer, and
the logits.
"""


def text(results, program, command, hidden):
    """The document about these results."""
    deviations = {row.deviation.name: row.deviation for result in results for row in result.rows}
    pairs = sum(deviation.operation == "pair" for deviation in deviations.values())
    parts = [INTRO.format(single=len(deviations) - pairs, pairs=pairs, program=program, command=command, hidden=hidden)]
    for result in results:
        parts.append(f"## `{result.setting.flags()}`\n\n{correct(result)}\n\n{markdown(result.summary())}\n")
    parts += [
        wrong_names(results),
        wrong_sites(results),
        passed(results),
        arguments(results),
        every(results, deviations),
    ]
    return "\n".join(part for part in parts if part)


def markdown(lines):
    head, *rest = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    rows = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def correct(result):
    verdict = "passes" if result.correct.exit_code == 0 else "**fails**"
    return f"The correct port {verdict}: {result.correct.coverage}."


def wrong_names(results):
    """Each wrong name, with what the port really does and the command that repeats it."""
    lines = ["## Wrong names\n"]
    for result in results:
        for row in result.wrong_names():
            names = {f"{name.mistake}: {name.says}" for name, truth, _ in row.truths if not truth}
            lines.append(
                f"- `--only '{row.deviation.name}' {result.setting.flags()}`. The port {row.deviation.says}. "
                f"Named: {'; '.join(f'“{name}”' for name in sorted(names))}."
            )
    return "\n".join(lines if len(lines) > 1 else [*lines, "None."]) + "\n"


def wrong_sites(results):
    lines = [
        f"- `--only '{row.deviation.name}' {result.setting.flags()}`: {row.answer.first_wrong}, not {row.expected}."
        for result in results
        for row in result.rows
        if row.first == "wrong"
    ]
    return "\n".join(["## Wrong first sites\n", *(lines or ["None."])]) + "\n"


def passed(results):
    """What was not detected, with the size of the error."""
    lines = [
        f"- `--only '{row.deviation.name}' {result.setting.flags()}`: {row.effect:.3g} ulps at {row.expected}."
        for result in results
        for row in result.rows
        if row.grade == "passed"
    ]
    return "\n".join(["## Not detected\n", *(lines or ["None."])]) + "\n"


def arguments(results):
    """Why some deviations cannot be distinguished."""
    named = {row.deviation.name: row.inseparable for result in results for row in inseparable(result.rows)}
    reasons = {
        reason: [name for name, other in named.items() if other == reason] for reason in dict.fromkeys(named.values())
    }
    lines = [f"- {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return "\n".join(["## Inseparable\n", *(lines or ["None."])]) + "\n"


def every(results, deviations):
    """One row for each deviation that is named, passes or is misnamed in some setting; the others as lists."""
    by_name = [{row.deviation.name: row for row in result.rows} for result in results]
    settings = [result.setting.flags() for result in results]
    rows, silent = [["mistake", "what the port does", *(f"`{flags}`" for flags in settings)]], {}
    for name, deviation in deviations.items():
        cells = [cell(rows_of.get(name)) for rows_of in by_name]
        if set(cells) <= {"unexplained", "–"}:
            silent.setdefault(deviation.operation, []).append(name)
        else:
            rows.append([name, deviation.says, *cells])
    lists = "\n".join(f"- {operation} ({len(names)}): {', '.join(names)}" for operation, names in silent.items())
    return f"## Each mistake\n\n{markdown(rows)}\n\nUnexplained in every setting:\n\n{lists}\n"


def cell(row):
    if row is None:
        return "–"
    return f"{row.grade}, first site {row.first}" if row.first in ("later", "wrong") else row.grade
