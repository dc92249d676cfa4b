"""deploy/quickstart, as a stranger runs it."""
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from daemon import wait_for

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "deploy" / "quickstart"


def daemons():
    """Process ids of the timeballds that run with the quick start's configuration."""
    found = subprocess.run(["pgrep", "-f", r"timeballd --config \.lab/timeballd\.toml"], capture_output=True, text=True)
    return found.stdout.split()


@pytest.fixture(autouse=True)
def leaves_nothing_running():
    before = daemons()
    yield
    assert daemons() == before


def test_once_ends_with_an_authentic_answer():
    done = subprocess.run([QUICKSTART, "--once"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trust = true" in done.stdout and "authentic" in done.stdout.lower(), done.stdout


def test_runs_until_interrupted_and_says_where_things_are(tmp_path):
    output = tmp_path / "output"
    with output.open("wb") as out:
        # A suite that runs in the background of a shell has Ctrl-C switched off, and its children inherit that.
        process = subprocess.Popen([QUICKSTART], stdout=out, stderr=out,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        wait_for(lambda: "Running until Ctrl-C" in output.read_text() or process.poll() is not None, 60, "running")
        text = output.read_text()
        assert process.poll() is None, text
        metrics = wait_for(lambda: re.search(r"http://\S+/metrics", output.read_text()), 5, "the metrics' address")[0]
        assert b"timeball_requests_total" in urllib.request.urlopen(metrics, timeout=5).read()
        assert "ntstrustedcerts" in output.read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)


def test_fails_when_the_answer_is_not_authentic(tmp_path):
    """A lab certificate that the CA did not sign: the query must not trust it, and --once must say so."""
    certificate = ROOT / ".lab" / "cert" / "ca.pem"
    saved = certificate.read_bytes()
    other = tmp_path / "other"
    subprocess.run([ROOT / "build" / "server" / "timeball", "cert", "lab", other], check=True)
    try:
        certificate.write_bytes((other / "ca.pem").read_bytes())
        done = subprocess.run([QUICKSTART, "--once"], capture_output=True, text=True, timeout=120)
        assert done.returncode not in (0, 2), done.stdout
        assert "no authentic answer" in done.stderr
    finally:
        certificate.write_bytes(saved)


def test_refuses_unknown_options():
    done = subprocess.run([QUICKSTART, "--twice"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "usage" in done.stderr
