"""What a failed test leaves behind: the end of each daemon's log, so that a failure on another machine can be understood."""
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "e2e"))

import daemon as daemons  # noqa: E402

LINES = 40


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for d in {d.log_file: d for d in daemons.Daemon.started}.values():
        if os.path.exists(d.log_file) and os.path.getmtime(d.log_file) >= call.start:
            report.sections.append((f"{d.log_file}, its end", "\n".join(d.log().splitlines()[-LINES:])))
