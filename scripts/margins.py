"""Self-tests side by side: by how many budgets each mistake is off at its best site, and what it was named.

    for dtype in f32 bf16 f16; do rbees-check selftest --dtype $dtype > $dtype.txt; done
    rbees-check selftest --model smollm2-135m --attention plain > smollm2.txt
    python scripts/margins.py f32=f32.txt bf16=bf16.txt f16=f16.txt "SmolLM2 f32"=smollm2.txt > docs/margins.md
"""

import re
import sys

ROW = re.compile(r"^ {0,2}(?P<number>\d+) +(?P<name>[a-z][a-z0-9-]+) +(?P<rest>\S.*)$")
RESULT = re.compile(r"(?P<margin>1e-?\d+|inf|exact|green)\s+(?P<named>rank \d+|-)")


def rows(paths):
    """`name → (number, cell, reason)` and the last lines of one self-test, whole or in several parts."""
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
            unnamed = named != "rank 1" and margin != "green"
            found[name] = number, margin + (" (not named first)" if unnamed else ""), ""
    return found, last


def main():
    runs = [(title, *rows(path)) for title, _, path in (arg.rpartition("=") for arg in sys.argv[1:])]
    names = {name: row[0] for _, found, _ in runs for name, row in found.items()}
    ordered = sorted(names, key=lambda name: int(names[name]))
    print("# By how much each mistake shows\n")
    print("The worst error of each planted mistake at its best site, in budgets, to a power of ten: 1 is what an")
    print("honest run may reach, 10 what is demanded in f32. `inf`: a value is not finite, or a barred one is")
    print("not. `exact`: no tensor differs, a fact does. `green`: no mistake, and nothing may turn red. `–`: it")
    print("cannot be shown there; a number under 1 is the share of the budget that it takes unseen. Each is")
    print("named as the likeliest of all suspects unless it says otherwise. Made by `scripts/margins.py`, whose head says how.\n")
    print("|  | mistake | " + " | ".join(title for title, *_ in runs) + " |")
    print("| --- | --- |" + " --- |" * len(runs))
    for name in ordered:
        cells = (found.get(name, ("", "not run", ""))[1] for _, found, _ in runs)
        print(f"| {names[name]} | {name} | " + " | ".join(cells) + " |")
    print("\nWhere it cannot be shown, or drowns in honest rounding:\n")
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
