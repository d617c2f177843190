"""Records one wrong port, asks the program about it, and grades the answer."""

from dataclasses import asdict, dataclass

from port import recording

from . import grade, planted
from .accepted import Accepted
from .inseparable import CORRECT, group_of, groups
from .program import Answer, ask


@dataclass(frozen=True)
class Row:
    """One deviation in one setting."""

    deviation: object
    expected: str | None
    """The first recorded site that is wrong."""
    effect: float
    """The error there, in ulps of the row's largest value."""
    first: str
    """`right`, `later`, `none`, `wrong`, or `-` if nothing is wrong."""
    grade: str
    inseparable: str | None
    """Why these taps cannot separate the deviation from another."""
    answer: Answer | None
    truths: list
    """Each name, how true it is (`exact`, `class` or None), and of which deviation."""

    def as_json(self):
        names = [{**asdict(name), "truth": truth, "of": of} for name, truth, of in self.truths]
        return {
            "deviation": self.deviation.name,
            "operation": self.deviation.operation,
            "says": self.deviation.says,
            "class": self.deviation.label,
            "first_wrong": self.expected,
            "effect_ulps": min(self.effect, 1e38),
            "found_first": self.answer and self.answer.first_wrong,
            "first": self.first,
            "grade": self.grade,
            "names": names,
            "inseparable": self.inseparable,
            "exit_code": self.answer and self.answer.exit_code,
            "recognised": self.answer.recognised if self.answer else [],
        }


class Judge:
    """Judges deviations in one setting."""

    def __init__(self, program, setting, folder, known):
        folder.mkdir(parents=True, exist_ok=True)
        self.program, self.setting, self.folder = program, setting, folder
        self.accepted = Accepted(known)
        self.groups = groups(setting.taps, known)
        self.by_name = {deviation.name: deviation for deviation in known}

    def applies(self, deviation):
        """Deviations outside the layers are judged once: with those that are planted in every layer."""
        return self.setting.layer is None or deviation.at != "ends"

    def ask(self, name, model, sites):
        """What the program says about a recording of these sites."""
        # One folder for each: runs that write their reports into the same folder disturb each other.
        folder = self.folder / name.replace("/", "_").replace(" ", "")
        folder.mkdir(exist_ok=True)
        file = folder / "recording.safetensors"
        recording.write(file, planted.prompt(model, self.setting.prompt), sites, self.setting.dtype)
        return ask(self.program, file, model, planted.model(model).config.layers)

    def correct(self):
        """What the program says about a correct port. It must read every site."""
        sites = planted.correct("tiny-llama", self.setting.dtype, self.setting.prompt)
        sites = planted.kept(sites, self.setting.taps)
        answer = self.ask("correct", "tiny-llama", sites)
        if not answer.coverage.startswith(f"{len(sites)} of "):
            raise RuntimeError(f"of {len(sites)} recorded sites the program reads {answer.coverage}\n{answer.message}")
        return answer

    def row(self, deviation):
        """Plants one deviation, and grades the answer."""
        wrong = planted.plant(deviation, self.setting)
        group = group_of(deviation.name, self.groups)
        argument = group and group.argument
        if wrong.first is None:
            return Row(deviation, None, 0.0, "-", "no effect", argument, None, [])
        answer = self.ask(deviation.name, deviation.model, wrong.sites)
        result, truths = grade.named(deviation, answer, self.truth)
        first = grade.first_site(wrong, answer)
        return Row(deviation, wrong.first, wrong.effect, first, result, argument, answer, truths)

    def truth(self, deviation, name):
        """How true a name is of a deviation, or of one that gives the same recording."""
        group = group_of(deviation.name, self.groups)
        others = [self.by_name[member] for member in group.members if member != CORRECT] if group else []
        found = self.accepted.truth(deviation, name)
        return found or ("class" if any(self.accepted.truth(other, name) for other in others) else None)
