"""Runs rbees-check on a recording, and reads its report."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from port.recording import in_order

LIMIT = 3600  # seconds: the machine may be busy


@dataclass(frozen=True)
class Name:
    """A mistake that the program names for a site."""

    site: str
    mistake: str
    says: str
    residual: float
    same_as: tuple
    """Other names, (mistake, sentence), that the program cannot distinguish from this one."""
    """Two mistakes of one hypothesis have the same distance. 0 if a fingerprint identified it."""


@dataclass(frozen=True)
class Answer:
    """What the program says about a recording."""

    exit_code: int
    first_wrong: str | None
    """The first site that does not follow from its recorded inputs."""
    names: list[Name]
    recognised: list[str]
    coverage: str
    """`71 of 71 sites`."""
    message: str
    """What it printed on stderr."""
    text: str
    """What it printed on stdout."""


def version(program):
    """`rbees-check 0.1.0`."""
    return subprocess.run([program, "--version"], capture_output=True, check=True, encoding="utf-8").stdout.strip()


def ask(program, file, model, layers):
    """Judges the recording `file` of `model`."""
    report = Path(file).with_name("report.json")
    command = [program, "run", "all", "--dump", str(file), "--model", model, "--report", f"json={report}"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=LIMIT)
    if done.returncode not in (0, 1, 2):
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    content = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {"checkpoints": []}
    coverage = [line.removeprefix("coverage: ") for line in done.stdout.splitlines() if line.startswith("coverage: ")]
    failed = [f for checkpoint in content["checkpoints"] for f in checkpoint["findings"] if f["status"] == "failed"]
    replayed = {f["site"] for f in failed if f["drive"].startswith("replay")}
    return Answer(
        exit_code=done.returncode,
        first_wrong=next((site for site in in_order(layers) if site in replayed), None),
        names=[
            Name(
                f["site"] or f["about"],
                name["mistake"],
                name["says"],
                float(name["residual"]),
                tuple((other["mistake"], other["says"]) for other in name.get("same_as", [])),
            )
            for f in failed
            for name in (f.get("suspects") or {"named": []})["named"]
        ],
        recognised=content.get("recognised", []),
        coverage=(coverage or ["nothing"])[0].split(";")[0],
        message=done.stderr.strip(),
        text=done.stdout,
    )
