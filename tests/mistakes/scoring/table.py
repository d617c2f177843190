"""The results of one setting, as text and as JSON."""

from collections import Counter

from .grade import GRADES, HIDDEN
from .program import Answer

FIRST = ["right", "later", "none", "wrong"]


class Result:
    """All rows of one setting."""

    def __init__(self, setting, correct: Answer, rows):
        self.setting, self.correct, self.rows = setting, correct, rows

    def as_json(self):
        return {
            "setting": self.setting.flags(),
            "correct_port": {"exit_code": self.correct.exit_code, "coverage": self.correct.coverage},
            "rows": [row.as_json() for row in self.rows],
        }

    def wrong_names(self):
        return [row for row in self.rows if row.grade == "wrong"]

    def failures(self):
        """What must not happen: a wrong name, another first site, a mistake that rounding cannot hide but that is not
        found, or a correct port that fails."""
        rows = [row for row in self.rows if "wrong" in (row.grade, row.first) or missed(row)]
        return rows + [self.correct] * (self.correct.exit_code != 0)

    def operations(self):
        """The operations in their order, each with its rows; all rows last."""
        names = list(dict.fromkeys(row.deviation.operation for row in self.rows))
        parts = [(name, [row for row in self.rows if row.deviation.operation == name]) for name in names]
        return [*parts, ("all", self.rows)]

    def summary(self):
        """The lines of a table with one row for each operation, as lists of cells."""
        head = ["operation", "planted", *(f"first site {name}" for name in FIRST), *GRADES, "inseparable"]
        lines = [head]
        for name, rows in self.operations():
            first, grades = (Counter(getattr(row, what) for row in rows) for what in ("first", "grade"))
            lines.append(
                [name, len(rows), *(first[f] for f in FIRST), *(grades[g] for g in GRADES), len(inseparable(rows))]
            )
        return lines

    def text(self, show=False):
        """Everything for a person to read."""
        verdict = "passes" if self.correct.exit_code == 0 else "FAILS"
        lines = [f"{self.setting.flags()}: the correct port {verdict}, {self.correct.coverage}", ""]
        lines += columns([["deviation", "first site", "names", "said"], *(self.line(row) for row in self.rows)])
        lines += ["", *columns(self.summary()), ""]
        if show:
            lines += [
                f"== {row.deviation.name}\n{row.answer.text}{row.answer.message}" for row in self.rows if row.answer
            ]
        return "\n".join(lines)

    def line(self, row):
        said = "; ".join(f"{'' if truth else 'WRONG '}{name.mistake}: {name.says}" for name, truth, _ in row.truths)
        if row.first == "wrong":
            said = f"first {row.answer.first_wrong}, not {row.expected}. {said}"
        if row.grade == "passed":
            said = f"{row.effect:.0f} ulps at {row.expected} {' '.join(row.answer.recognised)}"
        if row.grade == "not judged":
            said = row.answer.message.replace("\n", " ")
        return [row.deviation.name, row.first, row.grade, said]


def missed(row):
    """Whether nothing fails although the error is larger than rounding errors."""
    return row.grade == "passed" and row.effect > HIDDEN


def inseparable(rows):
    """Rows that these taps cannot separate from others, and that are not named."""
    return [row for row in rows if row.inseparable and row.grade not in ("exact", "class")]


def columns(lines):
    """Pads the cells of all columns but the last."""
    cells = [[str(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]
