"""Runs the real load generator for the tests of this folder."""
import json
import os
import subprocess

import daemon as daemons

BINARY = os.path.join(daemons.BUILD, "bench", "ntsload")


class Run:
    """One finished run: its exit status, what it said, and the report."""

    def __init__(self, arguments, timeout, wrapper=()):
        command = [*wrapper, BINARY, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        assert not daemons.SANITIZER_REPORT.search(done.stderr), done.stderr
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.report = json.loads(self.out) if self.out.startswith("{") else None

    def __str__(self):
        return f"exit status {self.status}\n{self.out}\n{self.err}"

    def count(self, name):
        """How often this was counted, whose name must be in the report."""
        return {c["name"]: c["count"] for c in self.report["counts"]}[name]

    def latency(self, quantile):
        """In seconds."""
        return self.report["histograms"][0][f"{quantile}_ns"] / 1e9


def ntsload(*arguments, timeout=60, wrapper=()):
    return Run(arguments, timeout, wrapper)


def load(command, target, *arguments, timeout=60, wrapper=()):
    """With the report as JSON instead of text."""
    return Run([command, target, "--json", "-", *arguments], timeout, wrapper)
