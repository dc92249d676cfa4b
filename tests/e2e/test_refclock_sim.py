"""refclock-sim in real time: ptys, pulses and commands, as a program finds them that knows nothing of simulation."""
import contextlib
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from rack import SimulatedRack

BUILD = Path(os.environ.get("TIMEBALL_BUILD", Path(__file__).resolve().parents[2] / "build"))
BINARY = BUILD / "refclock" / "refclock-sim"
SECOND = 1_000_000_000
PATIENCE = 20  # s; the machine may be busy
MON_VER = bytes.fromhex("b5620a0400000e34")


class Line:
    """A serial line as a host opens it."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self.heard = b""

    def write(self, octets):
        assert os.write(self.fd, octets) == len(octets)

    def read_until(self, done):
        """All that was heard, once done(of it) is true."""
        end = time.monotonic() + PATIENCE
        while not done(self.heard):
            assert select.select([self.fd], [], [], max(0, end - time.monotonic()))[0], self.heard
            octets = os.read(self.fd, 4096)
            if not octets:
                raise OSError("hung up")
            self.heard += octets
        return self.heard

    def close(self):
        os.close(self.fd)


class Rack(SimulatedRack):
    """Its ports as a host finds them."""

    command = SimulatedRack.ask

    def __init__(self, directory, *arguments):
        super().__init__(directory, *arguments)
        self.directory = Path(directory)

    @contextlib.contextmanager
    def line(self, name):
        line = Line(self.directory / name)
        yield line
        line.close()

    @contextlib.contextmanager
    def pulses(self, name):
        """Edges as the preloaded library gets them: (assert count, assert ns, clear count, clear ns)."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as device:
            device.connect(str(self.directory / name))
            device.settimeout(PATIENCE)
            yield lambda: self._edge(device.recv(48))

    @staticmethod
    def _edge(octets):
        if not octets:
            return None
        asserts, clears, a_s, a_ns, _, c_s, c_ns, _, _ = struct.unpack("IIqiIqiIi4x", octets)
        return asserts, a_s * SECOND + a_ns, clears, c_s * SECOND + c_ns


@contextlib.contextmanager
def rack(directory, *arguments):
    r = Rack(directory, *arguments)
    try:
        yield r
    finally:
        status = r.stop() if r.process.poll() is None else r.process.returncode
        assert status == 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with rack(tmp_path_factory.mktemp("rack")) as r:
        yield r


def test_ready_line_names_what_is_there(shared):
    assert shared.ready == f"ready in {shared.directory}: gnss, rubidium, pps-gnss, pps-rubidium, control\n"
    assert sorted(os.listdir(shared.directory)) == ["control", "gnss", "pps-gnss", "pps-rubidium", "rubidium"]


def test_sentences_name_the_second_that_has_begun(shared):
    with shared.line("gnss") as line:
        heard = line.read_until(lambda h: re.search(rb"\$GNRMC,[^\r]*\r\n", h))
        now = time.time()
    named = re.search(rb"\$GNRMC,(\d{2})(\d{2})(\d{2})\.00,A,", heard)
    second = sum(int(part) * scale for part, scale in zip(named.groups(), (3600, 60, 1)))
    assert (int(now) - second) % 86400 <= 1


def test_a_fresh_line_is_raw_and_has_no_echo(shared):
    """Whatever the pty's defaults: what is said comes as it is, and nothing comes back but the answer."""
    with shared.line("rubidium") as line:
        line.write(b"ID?\r")
        assert line.read_until(lambda h: b"\r" in h) == b"PRS10_3.24_SN_12345\r"


def test_receiver_answers_ubx(shared):
    with shared.line("gnss") as line:
        line.write(MON_VER)
        line.read_until(lambda h: b"\xb5\x62\x0a\x04" in h and b"MOD=ZED-F9T" in h)


def test_nothing_is_kept_for_who_opens_a_line_later(shared):
    """As on a real line: octets that nobody hears are lost."""
    time.sleep(2.2)
    with shared.line("gnss") as line:
        heard = line.read_until(lambda h: h.count(b"$GNRMC") >= 1 and h.endswith(b"\r\n"))
    assert heard.count(b"$GNRMC") == 1


def test_pulses_are_stamped_within_the_interrupts_latency(shared):
    status = shared.status()
    assert abs(status["utc_minus_realtime_ns"]) < 100_000_000  # nobody steps this machine's clock meanwhile
    with shared.pulses("pps-gnss") as edge:
        seen = [edge() for _ in range(4)]
    asserts = sorted({(n, ns) for n, ns, _, _ in seen})
    assert len(asserts) >= 2
    for (n, ns), (next_n, next_ns) in zip(asserts, asserts[1:]):
        assert next_n == n + 1
        assert abs(next_ns - ns - SECOND) < 1_000_000  # CLOCK_REALTIME may be slewed
    late = (asserts[-1][1] + shared.status()["utc_minus_realtime_ns"] + SECOND // 2) % SECOND - SECOND // 2
    assert 0 < late < 500_000
    assert abs(seen[-1][3] - seen[-1][1]) % SECOND in range(99_900_000, 100_100_000) or seen[-1][3] < seen[-1][1]


def test_rubidium_pulses_somewhere_else_and_at_the_same_rate(shared):
    with shared.pulses("pps-rubidium") as edge:
        seen = sorted({edge()[:2] for _ in range(4)})
    assert all(abs(b - a - SECOND) < 1_000_000 for (_, a), (_, b) in zip(seen, seen[1:]))


def test_status_counts(shared):
    before = shared.status()
    time.sleep(1.5)
    after = shared.status()
    elapsed = (after["utc_ns"] - before["utc_ns"]) / SECOND
    assert after["gnss"]["pulses"] - before["gnss"]["pulses"] == pytest.approx(elapsed, abs=1.1)
    assert after["gnss"]["octets_sent"] > before["gnss"]["octets_sent"]
    assert after["rubidium"]["stores"] == 0
    assert after["utc_ns"] - before["utc_ns"] > 1.4 * SECOND
    assert after["utc_ns"] - after["realtime_ns"] == after["utc_minus_realtime_ns"]


def test_commands_are_refused_with_what_to_write(shared):
    assert shared.command("gnss jam maybe") == 'error: gnss jam takes on|off: write "gnss jam on"'
    assert shared.command("make coffee").startswith("error: no such command; write one of: status, gnss off, ")
    shared.command("gnss jam on")
    assert shared.status()["gnss"]["jammed"] is True
    assert shared.command("gnss jam off") == "ok"


def test_a_command_without_an_end_is_refused(shared):
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(shared.directory / "control"))
        other.settimeout(PATIENCE)
        other.sendall(b"x" * 1000)
        assert other.recv(1000) == b"error: no command is longer than 256 octets\n"
    assert shared.command("gnss on") == "ok"


def test_garbage(shared):
    assert shared.command("gnss garbage 2s") == "ok"
    with shared.line("gnss") as line:
        heard = line.read_until(lambda h: len(h) > 200)
        assert b"$GNRMC" not in heard.replace(heard[:80], b"")  # what was under way may end
        line.read_until(lambda h: b"$GNRMC" in h[200:])


def test_unplugging_a_line_hangs_up_and_a_new_one_comes_by_the_old_name(shared):
    for name in ("gnss", "rubidium"):
        before = os.readlink(shared.directory / name)
        with shared.line(name) as line:
            assert shared.command(f"{name} unplug") == "ok"
            assert not (shared.directory / name).is_symlink()
            with pytest.raises(OSError):
                line.read_until(lambda _: False)
            assert shared.command(f"{name} plug") == "ok"
            assert os.readlink(shared.directory / name) != before, "the old one is still open"
    with shared.line("rubidium") as line:
        line.write(b"ID?\r")
        assert line.read_until(lambda h: b"\r" in h) == b"PRS10_3.24_SN_12345\r"


def test_a_name_that_is_taken_meanwhile(shared):
    path = shared.directory / "gnss"
    assert shared.command("gnss unplug") == "ok"
    path.write_text("mine")
    assert shared.command("gnss plug").startswith(f"error: cannot make {path}: File exists; remove what is there")
    assert path.read_text() == "mine"
    path.unlink()
    assert shared.command("gnss plug") == "ok"
    assert path.is_symlink()


def test_unplugging_a_pulse(shared):
    with shared.pulses("pps-gnss") as edge:
        assert edge()
        assert shared.command("pps-gnss unplug") == "ok"
        while edge() is not None:
            pass
    assert not (shared.directory / "pps-gnss").exists()
    assert shared.command("pps-gnss plug") == "ok"
    with shared.pulses("pps-gnss") as edge:
        assert edge()


def test_truth_may_be_ahead_of_the_systems_clock(tmp_path):
    with rack(tmp_path / "made", "--offset", "1500ms", "--receiver", "ublox8", "--rubidium", "sa22c") as r:
        assert abs(r.status()["utc_minus_realtime_ns"] - 1.5 * SECOND) < 100_000_000
        with r.pulses("pps-gnss") as edge:
            _, stamp, _, _ = edge()
        assert abs(stamp % SECOND - SECOND // 2) < 1_000_000
        with r.line("rubidium") as line:
            line.write(b"i")
            line.read_until(lambda h: b"r>" in h)


def test_only_what_was_asked_for(tmp_path):
    with rack(tmp_path, "--receiver", "nmea", "--rubidium", "none") as r:
        assert r.ready == f"ready in {tmp_path}: gnss, pps-gnss, control\n"
        assert r.status()["rubidium"] is None
        assert r.command("rubidium reboot").startswith("error: no rubidium here")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_removes_what_it_made(tmp_path, how):
    with rack(tmp_path) as r:
        (tmp_path / "mine").touch()
        r.process.send_signal(how)
        assert r.process.wait(PATIENCE) == 0
    assert os.listdir(tmp_path) == ["mine"]


def run(*arguments):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def test_tell(shared, tmp_path):
    done = run("--directory", shared.directory, "--tell", "gnss label -1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    assert json.loads(run("--directory", shared.directory, "--tell", "status").stdout)["gnss"]["label_error_s"] == -1
    assert shared.command("gnss label 0") == "ok"
    refused = run("--directory", shared.directory, "--tell", "gnss jam")
    assert (refused.returncode, refused.stdout) == (1, 'error: gnss jam takes on|off: write "gnss jam on"\n')
    refused = run("--directory", tmp_path, "--tell", "status")
    assert refused.returncode == 1
    assert refused.stderr == f"refclock-sim: nobody serves {tmp_path}; start refclock-sim with that directory first\n"


PPS_FETCH = 0xC00870A4
FETCH = f"""
import fcntl, os, struct, sys
device = os.open(sys.argv[1], os.O_RDWR)
for _ in range(2):
    data = bytearray(48) + struct.pack("qiI", 5, 0, 0)
    fcntl.ioctl(device, {PPS_FETCH}, data)
    print(*struct.unpack_from("IIqi", data))
"""


def test_preloaded_programs_find_a_pps_device(shared):
    """The ioctl of RFC 2783, by a program that was told nothing."""
    fetched = subprocess.run(["/usr/bin/python3", "-c", FETCH, shared.directory / "pps-gnss"], capture_output=True, text=True,
                             timeout=60, env={"LD_PRELOAD": str(BINARY.parent / "sim" / "libtimeball-pps-sim.so")})
    assert fetched.returncode == 0, fetched.stderr
    first, second = ([int(field) for field in line.split()] for line in fetched.stdout.splitlines())
    assert second[0] + second[1] > first[0] + first[1]
    assert min(second[3], SECOND - second[3]) < 1_000_000


def test_two_do_not_share_a_directory(shared):
    refused = run("--directory", shared.directory)
    assert refused.returncode == 1
    assert refused.stderr == f"refclock-sim: {shared.directory} is in use by another refclock-sim; give another directory\n"
    assert shared.status()["gnss"]["plugged"] is True
    assert (shared.directory / "gnss").exists()


def test_what_a_killed_one_left_is_taken_over(tmp_path):
    r = Rack(tmp_path)
    r.process.kill()
    r.process.wait(PATIENCE)
    r.control.close()
    assert "gnss" in os.listdir(tmp_path)
    with rack(tmp_path) as again, again.line("rubidium") as line:
        line.write(b"ID?\r")
        line.read_until(lambda h: b"PRS10" in h)


def test_files_of_others_are_left_alone(tmp_path):
    for name in ("gnss", "pps-gnss", "control"):
        path = tmp_path / name
        path.write_text("mine")
        refused = run("--directory", tmp_path)
        assert refused.returncode == 1
        assert len(refused.stderr.splitlines()) == 1 and str(path) in refused.stderr
        assert path.read_text() == "mine"
        assert os.listdir(tmp_path) == [name]
        path.unlink()


def test_the_command_line(tmp_path):
    shown = run("--help")
    assert shown.returncode == 0
    assert all(word in shown.stdout for word in ("--directory", "gnss spoof DURATION", "LD_PRELOAD", "Exit status"))
    assert run("--version").stdout.startswith("refclock-sim ")
    assert run().returncode == 2
    for wrong in (["--receiver", "sextant"], ["--warm-up", "10"], ["--offset", "soon"], ["--irq-latency", "-1us"]):
        refused = run("--directory", tmp_path / "none", *wrong)
        assert refused.returncode == 2 and wrong[0] in refused.stderr
    assert not (tmp_path / "none").exists()
    refused = run("--directory", "/proc/none")
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
    refused = run("--directory", tmp_path / ("x" * 120))
    assert refused.returncode == 1 and "give a shorter directory" in refused.stderr
