#!/usr/bin/env python3
"""Print docs/cases.md: the attack and fault cases of tests/cases.json, each with the tests (or measuring programs) that carry its id in
their name."""
import json
import pathlib
import re

root = pathlib.Path(__file__).resolve().parent.parent
cases = json.loads((root / "tests/cases.json").read_text())
known = {case["id"] for case in cases}

tests: dict[str, list[tuple[str, str]]] = {}
for file in sorted([*root.glob("src/**/*.rs"), *root.glob("tests/**/*.rs"), *root.glob("benches/**/*.rs")]):
    for name in re.findall(r"\bfn (\w+)\(", file.read_text()):
        for group, number in re.findall(r"(?:^|_)([a-z0-9]+)_(\d\d)(?=_)", name):
            case = f"{group.upper()}-{number}"
            if case in known:
                tests.setdefault(case, []).append((name, str(file.relative_to(root))))


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


groups = list(dict.fromkeys(case["group"] for case in cases))
print("# Cases\n")
print("Attacks and faults that Hallpass must withstand, and the tests that show that it does. A test belongs to a case when its")
print("name carries the case's id. `make docs` writes this page.\n")
print("| Group | Cases | With a test |\n|---|---|---|")
for group in groups:
    ids = [case["id"] for case in cases if case["group"] == group]
    print(f"| {group} | {len(ids)} | {sum(id in tests for id in ids)} |")
print(f"| all | {len(cases)} | {len(tests)} |")
for group in groups:
    print(f"\n## {group}\n\n| Case | Given | When | Then | Tests |\n|---|---|---|---|---|")
    for case in cases:
        if case["group"] != group:
            continue
        named = "<br>".join(f"[`{name}`](../{file})" for name, file in tests.get(case["id"], [])) or "none yet"
        print("| " + " | ".join([case["id"], *(cell(case[key]) for key in ("setup", "input", "expected")), named]) + " |")
