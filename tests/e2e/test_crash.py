"""kill -9 and errors at every system call on a file that must be found whole (server/file.h), injected by strace.

A new file of that kind: a verb of key_file_writer.cc, and a row of WRITES.
"""
import collections
import dataclasses
import errno
import os
import re
import subprocess

import pytest

import daemon as daemons

WRITER = os.path.join(daemons.BUILD, "tests", "e2e", "key_file_writer")
WALL = 1_750_000_000  # the writer's time


@dataclasses.dataclass
class Write:
    """One way of writing the file."""
    verb: str
    had_file: bool = True

    def is_new(self, old, new):
        """Whether these are the generations that follow."""
        if self.verb == "open":
            return len(new) == 2
        if self.verb == "rekey":
            return len(new) == 2 and not set(old) & set(new)
        return new[1:] == old[: len(new) - 1] and len(new) == len(old) + 1


WRITES = {"first keys": Write("open", had_file=False), "rotation": Write("rotate"), "rekey": Write("rekey")}


@pytest.fixture(scope="module", autouse=True)
def strace_works(tmp_path_factory):
    trace = tmp_path_factory.mktemp("strace") / "trace"
    done = subprocess.run(["strace", "-o", trace, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"ptrace is refused here: {done.stderr.strip()}")


class Place:
    """A directory with a key file, or without one, for one attempt."""

    def __init__(self, directory, had_file=True):
        self.directory = str(directory)
        self.trace = self.directory + ".trace"
        self.file = os.path.join(self.directory, "master-keys")
        self.temporary = self.file + ".tmp"
        os.mkdir(self.directory)
        self.old = daemons.KeyFile.make(7, old=2, rotated=WALL) if had_file else None
        if had_file:
            self.old.write(self.file)

    def run(self, verb, *wrapper):
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # it would trace, and is being traced
        return subprocess.run([*wrapper, WRITER, verb, self.file], capture_output=True, text=True, timeout=60,
                              env=environment, check=False)

    def run_traced(self, verb, *options, but_the_file=False):
        """Only calls that touch our paths count; but_the_file: those that write, not those that read it at first."""
        paths = [self.directory, self.temporary, *([] if but_the_file else [self.file])]
        return self.run(verb, "strace", "-qq", "-o", self.trace, *(f"--trace-path={p}" for p in paths), *options)

    def calls(self, verb, **options):
        """[(system call, which of them)] of an undisturbed run, in order."""
        assert self.run_traced(verb, **options).returncode == 0
        seen, found = collections.Counter(), []
        with open(self.trace, encoding="ascii", errors="replace") as f:
            for name in re.findall(r"^(\w+)\(", f.read(), re.M):
                seen[name] += 1
                found.append((name, seen[name]))
        return found

    def content(self):
        if not os.path.exists(self.file):
            return None
        with open(self.file, encoding="ascii") as f:
            return f.read()

    def check_whole(self, write):
        """Old or new; the next start takes it, and leaves nothing else behind. Returns which."""
        left = self.content()
        new = left != (self.old and self.old.text())
        if new:
            assert left is not None, "neither old nor new"
            old = self.old.generations if self.old else []
            assert write.is_new(old, daemons.KeyFile.read(self.file).generations)
        started = self.run("open")
        assert started.returncode == 0, started
        assert os.listdir(self.directory) == ["master-keys"]
        assert left in (None, self.content()), "the next start wrote other keys"
        return "new" if new else "old"


@pytest.mark.parametrize("name", WRITES)
def test_killed_at_each_call_leaves_old_or_new(tmp_path, name):
    write, outcomes = WRITES[name], set()
    calls = Place(tmp_path / "undisturbed", write.had_file).calls(write.verb)
    assert {"openat", "write", "fsync", "rename", "close"} <= {call for call, _ in calls}, calls
    for call, n in calls:
        place = Place(tmp_path / f"{call}-{n}", write.had_file)
        done = place.run_traced(write.verb, f"--inject={call}:signal=KILL:when={n}")
        assert done.returncode in (-9, 137), (call, n, done)
        outcomes.add(place.check_whole(write))
    assert outcomes == {"old", "new"}, "not both were seen: the test is blind"


def counts_as_failure(call, error):
    """Not: a temporary file that is not there, a descriptor that is closed all the same, a write that is tried again."""
    return call not in ("unlink", "close") and (call, error) != ("write", "EINTR")


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT", "EINTR"])
def test_failed_rotation_keeps_the_keys_and_is_tried_again(tmp_path, error):
    """At each call that writes: the keys in use stay, the failure is counted, thirty seconds later all is well."""
    for call, n in Place(tmp_path / "undisturbed").calls("tick", but_the_file=True):
        place = Place(tmp_path / f"{call}-{n}")
        done = place.run_traced("tick", f"--inject={call}:error={error}:when={n}", but_the_file=True)
        assert (done.returncode, done.stdout) == (0, f"failures {int(counts_as_failure(call, error))}\n"), (call, n, done)
        # Written, but the directory not synchronised: what is tried again follows the keys in use, not those.
        assert place.check_whole(WRITES["rotation"]) == "new"


def test_first_keys_that_cannot_be_written_are_refused_in_one_line(tmp_path):
    for call, n in Place(tmp_path / "undisturbed", False).calls("open", but_the_file=True):
        place = Place(tmp_path / f"{call}-{n}", False)
        done = place.run_traced("open", f"--inject={call}:error=ENOSPC:when={n}", but_the_file=True)
        refused = counts_as_failure(call, "ENOSPC")
        if refused:
            reason = os.strerror(errno.ENOSPC)
            assert re.fullmatch(f"master key file {place.file} cannot be written: {reason}[^\n]*\n", done.stderr), done
        assert done.returncode == int(refused)
        place.check_whole(WRITES["first keys"])
