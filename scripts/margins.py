"""Combines several self-test outputs into docs/margins.md: how many budgets each mistake is off, and how it
was named.

    for dtype in f32 bf16 f16; do rbees-check selftest --dtype $dtype > $dtype.txt; done
    rbees-check selftest --model smollm2-135m --attention plain > smollm2.txt
    python scripts/margins.py f32=f32.txt bf16=bf16.txt f16=f16.txt "SmolLM2 f32"=smollm2.txt > docs/margins.md
"""

import re
import sys

ROW = re.compile(r"^ {0,2}(?P<number>\d+) +(?P<name>[a-z][a-z0-9-]+) +(?P<rest>\S.*)$")
RESULT = re.compile(r"(?P<margin>1e-?\d+|inf|exact|pass)\s+(?P<named>rank \d+|-)")


def rows(paths):
    """One self-test, in one or several files: `name → (number, cell, reason)`, and its last lines."""
    found, last = {}, []
    for line in (line for path in paths.split(",") for line in open(path, encoding="utf-8")):
        last += [line.strip()] if line.startswith("planted:") else []
        row = ROW.match(line)
        if not row:
            continue
        number, name, rest = row["number"], row["name"], row["rest"]
        if rest.startswith("not here:"):
            found[name] = number, "–", rest.removeprefix("not here: ").strip()
        elif rest.startswith("unseen"):
            share = re.search(r"at (\d+)% of budget: (.*)", rest)
            found[name] = number, f"0.{int(share[1]):02d}", share[2]
        elif result := RESULT.search(rest):
            margin, named = result["margin"], result["named"]
            unnamed = named != "rank 1" and margin != "pass"
            found[name] = number, margin + (" (not named first)" if unnamed else ""), ""
    return found, last


def main():
    runs = [(title, *rows(path)) for title, _, path in (arg.rpartition("=") for arg in sys.argv[1:])]
    names = {name: row[0] for _, found, _ in runs for name, row in found.items()}
    ordered = sorted(names, key=lambda name: int(names[name]))
    print("# How clearly each mistake shows\n")
    print("For each planted mistake, the largest error at the site where it shows most, in budgets, rounded down to a")
    print("power of ten. A correct run may reach 1; in f32 we require at least 10. `inf`: a value is not finite, or a")
    print("masked one is. `exact`: no tensor differs, but a fact does. `pass`: this is not a mistake, and nothing may")
    print("fail. `–`: the mistake cannot be shown there. A number under 1 is the share of the budget that the mistake")
    print("takes without being detected. Unless noted, each mistake is named as the most likely of all suspects. The")
    print("table is made by `scripts/margins.py`; see its docstring.\n")
    print("|  | mistake | " + " | ".join(title for title, *_ in runs) + " |")
    print("| --- | --- |" + " --- |" * len(runs))
    for name in ordered:
        cells = (found.get(name, ("", "not run", ""))[1] for _, found, _ in runs)
        print(f"| {names[name]} | {name} | " + " | ".join(cells) + " |")
    print("\nMistakes that cannot be shown, or that are hidden by normal rounding:\n")
    for name in ordered:
        reasons = {}
        for title, found, _ in runs:
            if name in found and found[name][2]:
                reasons.setdefault(found[name][2], []).append(title)
        for reason, titles in reasons.items():
            print(f"- {name}, {', '.join(titles)}: {reason}")
    print("\nLast lines:\n")
    for title, _, last in runs:
        print(f"- {title}: " + ", ".join(f"`{line}`" for line in last))


if __name__ == "__main__":
    main()
