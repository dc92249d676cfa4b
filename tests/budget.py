#!/usr/bin/env python3
"""Instruction budgets: what answering one request takes, counted by callgrind, against a file.

Instructions do not change with the machine's mood, so that a budget may be tight. A count that is off by more
than 2 %, above or below, fails: --write puts today's counts into the file, and its diff says what a change costs.
"""
import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILE = ROOT / "bench" / "instruction_budgets.json"
TOLERANCE = 0.02
SCENARIOS = {"NTS, AEAD 15, alone": ("15", 1), "NTS, AEAD 15, batch of 64": ("15", 64),
             "NTS, AEAD 30, alone": ("30", 1), "NTS, AEAD 30, batch of 64": ("30", 64),
             "without NTS, batch of 64": ("plain", 64)}


def instructions(program, aead, batch, count):
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", program, aead,
                               str(batch), str(count)], capture_output=True, text=True, timeout=300)
    if done.returncode == 77:
        print("skipped: this CPU has no AES-NI")
        sys.exit(0)
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not counted:
        sys.exit(f"responder_budget {aead} {batch} {count}: exit status {done.returncode}\n{done.stderr}")
    return int(counted[1])


def per_request(program, aead, batch):
    """What is the same in both runs, the start above all, cancels out."""
    few, many = max(1, 64 // batch), max(1, 64 // batch) + 1024 // batch
    return (instructions(program, aead, batch, many) - instructions(program, aead, batch, few)) / (many - few) / batch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (release)")
    parser.add_argument("--write", action="store_true", help="make today's counts the budgets")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: apt-get install valgrind")
    program = (ROOT / options.build / "bench" / "responder_budget").resolve()
    counts = {name: round(per_request(program, *scenario)) for name, scenario in SCENARIOS.items()}
    if options.write:
        FILE.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    budgets = json.loads(FILE.read_text(encoding="utf-8"))
    failed = budgets.keys() != counts.keys()
    for name, count in counts.items():
        budget = budgets.get(name, 0)
        off = count / budget - 1 if budget else float("inf")
        failed |= abs(off) > TOLERANCE
        print(f"{name:28s} {count:7d} instructions, budget {budget:7d}, {off:+.1%}")
    if failed:
        sys.exit("off by more than 2 %: find out why; if it is meant, tests/budget.py --write, and commit the file")


if __name__ == "__main__":
    main()
