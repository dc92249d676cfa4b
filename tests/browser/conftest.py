"""These tests open what Timeball makes in a real Chromium."""
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import daemon as daemons  # noqa: E402
from browser import Browser  # noqa: E402


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with Browser(program, tmp_path_factory.mktemp("profile")) as b:
        yield b


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    certificates = daemons.LabCertificates(str(tmp_path_factory.mktemp("certificates")))
    with daemons.Daemon(tmp_path_factory.mktemp("daemon"), certificates) as d:
        yield d
