"""sim --keep: a run that was broken off goes on, and ends with the figures of one that was not."""
import os
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("TIMEBALL_BUILD", Path(__file__).resolve().parents[2] / "build"))
WORLDS = 6  # two scenarios, three seeds


def sim(tmp_path, *options, days="0.02"):
    """Exit status and figures, which no world of half an hour reaches the event of its scenario in."""
    figures = tmp_path / "figures.json"
    figures.unlink(missing_ok=True)
    done = subprocess.run([BUILD / "tests" / "sim" / "sim", "--seeds", "3", "--days", days, "--scenario", "cold-start",
                           "spoof-step", "--json", figures, *options], capture_output=True, text=True, timeout=120)
    return done, figures.read_text() if figures.exists() else None


def test_kept_worlds_are_taken_from_the_file(tmp_path):
    kept = tmp_path / "kept"
    plain, figures = sim(tmp_path)
    first, figures_first = sim(tmp_path, "--keep", kept)
    written = kept.read_bytes()
    assert written.count(b"\n") == 1 + WORLDS
    again, figures_again = sim(tmp_path, "--keep", kept)
    assert kept.read_bytes() == written
    assert figures_first == figures_again == figures
    # With their failures, and how long they took.
    assert plain.returncode == first.returncode == 1
    assert plain.stdout.count("FAILED spoof-step seed") == 3
    assert (again.returncode, again.stdout, again.stderr) == (first.returncode, first.stdout, first.stderr)


@pytest.mark.parametrize("whole", range(WORLDS + 1))
def test_a_run_that_was_broken_off_goes_on(tmp_path, whole):
    """Killed while the line after `whole` worlds was being written."""
    kept = tmp_path / "kept"
    _, figures = sim(tmp_path, "--keep", kept)
    lines = kept.read_bytes().splitlines(keepends=True)
    before = b"".join(lines[:1 + whole])
    broken = lines[1 + whole][:-9] if whole < WORLDS else b"cold-s"
    kept.write_bytes(before + broken)
    _, figures_again = sim(tmp_path, "--keep", kept, "--jobs", "2")
    assert figures_again == figures
    assert kept.read_bytes().startswith(before)
    assert [line.split()[:2] for line in sorted(kept.read_bytes().splitlines())] == \
        [line.split()[:2] for line in sorted(lines)]


def test_a_first_line_that_was_broken_off_is_written_again(tmp_path):
    kept = tmp_path / "kept"
    kept.write_bytes(b"sim: finished wor")
    sim(tmp_path, "--keep", kept)
    assert kept.read_bytes().startswith(b"sim: finished worlds of 0.02 days\ncold-start 10001 ")


def test_other_worlds_are_refused(tmp_path):
    """One line that says so, and the file stays as it is."""
    kept = tmp_path / "kept"
    sim(tmp_path, "--keep", kept)
    good = kept.read_bytes()
    for content, days, why in [
            (good, "0.03", 'its first line is not "sim: finished worlds of 0.03 days"'),
            (b"something else", "0.02", 'its first line is not "sim: finished worlds of 0.02 days"'),
            (good + b"cold-start 10001 5 6\n", "0.02", f"line {2 + WORLDS} is not a world"),
            (good[:-1] + b" 7\n", "0.02", f"line {1 + WORLDS} is not a world")]:
        kept.write_bytes(content)
        done, figures = sim(tmp_path, "--keep", kept, days=days)
        assert (done.returncode, figures, done.stdout, done.stderr) == (2, None, "", f"sim: {kept}: {why}\n")
        assert kept.read_bytes() == content
    assert sim(tmp_path, "--keep", tmp_path / "no" / "folder")[0].stderr == \
        f"sim: {tmp_path}/no/folder: cannot be written\n"
