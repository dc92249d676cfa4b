"""The clock helper as a service of its own (timeballd-clock.socket and .service). No clock is touched: the shim keeps
the helper's calls for itself, and the right to make them is dropped before it starts."""
import contextlib
import os
import pwd
import re
import signal
import socket
import subprocess
import time

import pytest

import daemon as daemons

ROOT = os.geteuid() == 0
USER = pwd.getpwuid(os.geteuid()).pw_name
WITHOUT_THE_RIGHT = ("setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time") if ROOT else ()
RACK = [{"driver": "gnss", "device": "/nowhere/gnss"}, {"driver": "pps", "device": "/nowhere/pps"}]
LOST, AGAIN = "the kernel's clock is no longer steered", "the kernel's clock is steered again"


class Helper:
    """The socket, as systemd holds it, and what systemd would start for it."""

    def __init__(self, directory, shim):
        self.path, self.log_file, self.shim = str(directory / "clock"), str(directory / "log"), shim
        shim.set(fake_adjtime=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.process = None

    def start(self, user=USER):
        command = " ".join(["exec env LISTEN_FDS=1 LISTEN_PID=$$", *WITHOUT_THE_RIGHT, daemons.BINARY,
                            "--clock-helper", user, f"3<&{self.listener.fileno()}"])
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(["bash", "-c", command], pass_fds=[self.listener.fileno()], stdout=log,
                                            stderr=log, env={**os.environ, **self.shim.environment()})
        return self

    def calls(self):
        """The modes of the calls of clock_adjtime(2)."""
        if not os.path.exists(self.shim.calls_file):
            return []
        return [int(call[1], 16) for call in self.shim.calls() if call[0] == "adjtime"]

    def is_asked(self):
        """Again, from now on."""
        before = len(self.calls())
        daemons.wait_for(lambda: len(self.calls()) > before, 60, self.log)

    def log(self):
        with open(self.log_file, encoding="utf-8") as f:
            return f.read()

    def status(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return dict(line.rstrip("\n").split(":\t", 1) for line in f)

    def kill(self, how=signal.SIGKILL):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(20)


@pytest.fixture
def helper(tmp_path, shim):
    h = Helper(tmp_path, shim)
    yield h
    h.kill()
    h.listener.close()
    if os.path.exists(h.log_file):
        assert not daemons.VIOLATION.search(h.log()) and not daemons.SANITIZER_REPORT.search(h.log()), h.log()


@pytest.fixture
def steering(start, helper):
    """Daemons that steer by it, not yet started."""
    return lambda: start({"clock.mode": "system", "clock.helper": helper.path, "clock.leap_file": "", "ntp.shards": 1,
                          "nts_ke.enabled": False}, refclock=RACK, wrapper=WITHOUT_THE_RIGHT)


def ends(d):
    """What a daemon that does not start says."""
    d.spawn()
    assert d.process.wait(30) == 1, d.log()
    d.check_log()
    said = [line for line in d.log().splitlines() if line.startswith("timeballd: ")]
    assert len(said) == 1, d.log()
    return said[0]


def count_reaches(d, text, wanted):
    """A service that is late for a second counts as lost, too, and as found again."""
    daemons.wait_for(lambda: d.log().count(text) >= wanted, 60, d.log)


def children(process):
    with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as f:
        return f.read().split()


def test_the_daemon_asks_the_service_and_never_has_the_right(helper, steering):
    helper.start()
    with steering() as d:
        assert helper.calls()[:3] == [0x4011, 0x8001, 0x10]  # what a daemon begins with
        helper.is_asked()
        assert LOST not in d.log() and not children(d.process)
        status = helper.status()
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
        assert int(status["CapPrm"], 16) & ~(1 << 25) == 0 and status["CapAmb"] == "0" * 16
    helper.kill(signal.SIGTERM)
    assert helper.process.returncode == -signal.SIGTERM


def test_daemons_come_and_go(helper, steering):
    helper.start()
    for _ in range(2):
        with steering():
            helper.is_asked()
    assert helper.process.poll() is None


def test_a_service_that_ended_is_found_again_and_told_of_once(helper, steering):
    helper.start()
    with steering() as d:
        for _ in range(2):
            helper.is_asked()
            lost = d.log().count(LOST)
            helper.kill()
            count_reaches(d, LOST, lost + 1)
            assert "timeballd-clock.socket" in d.log()
            time.sleep(2.5)  # asked again each second, and told of no more
            assert d.log().count(LOST) == d.log().count(AGAIN) + 1
            found = d.log().count(AGAIN)
            helper.start()
            count_reaches(d, AGAIN, found + 1)
        helper.is_asked()
        assert d.log().count(LOST) == d.log().count(AGAIN)
        assert d.get("/healthz")[0] == 200


def test_a_socket_that_is_gone_is_found_again(helper, steering):
    helper.start()
    with steering() as d:
        helper.kill()
        helper.listener.close()
        os.unlink(helper.path)
        count_reaches(d, LOST, 1)
        helper.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        helper.listener.bind(helper.path)
        helper.listener.listen(8)
        helper.start()
        count_reaches(d, AGAIN, 1)


def test_a_service_that_stands_still_is_asked_again_later(helper, steering):
    helper.start()
    with steering() as d:
        helper.process.send_signal(signal.SIGSTOP)
        count_reaches(d, LOST, 1)
        helper.process.send_signal(signal.SIGCONT)
        count_reaches(d, AGAIN, 1)


def test_a_second_daemon_is_refused(helper, steering):
    helper.start()
    with steering() as first:
        assert "another daemon steers the clock already" in ends(steering())
        helper.is_asked()
        assert LOST not in first.log()
    with steering():  # its place is free now
        helper.is_asked()


def test_another_users_daemon_is_refused(helper, steering):
    helper.start("nobody")
    assert "this user may not steer the clock" in ends(steering())
    assert helper.calls() == []


def test_nobody_listens(helper, steering):
    helper.listener.close()
    assert "systemctl enable --now timeballd-clock.socket" in ends(steering())
    os.unlink(helper.path)
    assert "systemctl enable --now timeballd-clock.socket" in ends(steering())


def test_the_kernels_refusal_is_named(helper, steering):
    """Of a helper without CAP_SYS_TIME that asks the kernel indeed."""
    helper.shim.set(fake_adjtime=False)
    helper.start()
    assert 'clock.mode = "system" needs CAP_SYS_TIME' in ends(steering())


def test_what_cannot_help_says_so():
    for user, said in ((USER, "no socket to serve at; timeballd-clock.socket starts this"),
                       ("no-such-user", "there is no user no-such-user")):
        done = subprocess.run([daemons.BINARY, "--clock-helper", user], capture_output=True, text=True, timeout=30)
        assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr
