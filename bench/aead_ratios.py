#!/usr/bin/python3
"""Ratios between rows of the AEAD engine, as a Markdown table: bench/aead_ratios.py [--build build] [--rounds 9]

A round runs aead_bench once, which measures every row in turn; a ratio is of two figures of one round.
"""
import argparse
import json
import re
import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def row(implementation, aead=15, shape="nts", burst=64):
    return f"request/{implementation}/aead:{aead}/{shape}/burst:{burst}"


ONE_AT_A_TIME = row("aesni", burst=1)
# what; the slower row, as it should be; the faster; the least ratio asked for
RATIOS = [
    ("VAES-512, eight at a time : AES-NI, one at a time", ONE_AT_A_TIME, row("vaes512"), 3),
    ("VAES-256, four at a time : AES-NI, one at a time", ONE_AT_A_TIME, row("vaes256"), None),
    ("AES-NI, two at a time : one at a time", ONE_AT_A_TIME, row("aesni"), 1.4),
    ("AES-NI, two at a time in bursts of two : one at a time", ONE_AT_A_TIME, row("aesni", burst=2), None),
    ("AES-NI, one at a time : portable, one at a time", row("portable", burst=1), ONE_AT_A_TIME, 10),
    ("AES-NI, one at a time : portable, bursts of 64", row("portable"), ONE_AT_A_TIME, None),
    *((f"{name}, 64 of mixed shapes : one at a time", row(name, shape="mixed", burst=1), row(name, shape="mixed"), 1)
      for name in ("portable", "aesni", "vaes256", "vaes512")),
    *((f"{name}, bursts of {burst}, AEAD 30 : AEAD 15", row(name, burst=burst), row(name, aead=30, burst=burst),
       1 / 1.15)
      for name, burst in (("aesni", 1), ("aesni", 64), ("vaes256", 64), ("vaes512", 64))),
]


def measure(binary, names, seconds):
    """Nanoseconds of CPU per request, by row; a row this CPU cannot run is not there."""
    pattern = "|".join(f"^{re.escape(name)}$" for name in names)
    done = subprocess.run([binary, f"--benchmark_filter={pattern}", f"--benchmark_min_time={seconds}",
                           "--benchmark_format=json"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return {b["name"]: 1e9 / b["items_per_second"] for b in json.loads(done.stdout)["benchmarks"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default="build", help="directory with bench/aead_bench, of a release build")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.05, help="for each row in each round")
    options = parser.parse_args()

    names = sorted({name for _, slow, fast, _ in RATIOS for name in (slow, fast)})
    binary = ROOT / options.build / "bench" / "aead_bench"
    rounds = [measure(binary, names, options.seconds) for _ in range(options.rounds)]

    print("| Speed of | asked | minimum | median |\n|---|---|---|---|")
    for what, slow, fast, asked in RATIOS:
        ratios = [r[slow] / r[fast] for r in rounds if slow in r and fast in r]
        if not ratios:
            print(f"| {what} | | not on this CPU | |")
            continue
        least = f"{asked:.2f}" if asked else ""
        print(f"| {what} | {least} | {min(ratios):.2f} | {statistics.median(ratios):.2f} |")

    print("\n| Row, ns per request | minimum | median |\n|---|---|---|")
    for name in names:
        figures = [r[name] for r in rounds if name in r]
        if figures:
            print(f"| {name.removeprefix('request/')} | {min(figures):.0f} | {statistics.median(figures):.0f} |")


if __name__ == "__main__":
    main()
