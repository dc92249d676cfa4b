"""What systemd is told (Type=notify): the test is the service manager, with a socket of its own."""
import ctypes
import os
import signal
import socket
import time

import pytest

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


class Manager:
    """$NOTIFY_SOCKET's other end."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path)}

    def receive(self, seconds=10):
        """One message, {"READY": "1", ...}; None when none comes."""
        self.socket.settimeout(seconds)
        try:
            text = self.socket.recv(4096).decode()
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in text.splitlines())

    def until(self, key, seconds=15):
        """The first message with that key."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            message = self.receive(left)
            if message and key in message:
                return message
        raise AssertionError(f"no {key} within {seconds} s")

    def drain(self):
        while self.receive(0.01):
            pass


@pytest.fixture
def manager(tmp_path):
    m = Manager(tmp_path / "notify")
    yield m
    m.socket.close()


def test_ready_comes_first_and_says_how_things_are(start, manager):
    with start(environment=manager.environment) as d:
        first = manager.receive()
        assert first["READY"] == "1"
        assert first["STATUS"].startswith("the kernel's clock, stratum 10, true within 1")
        with d.ntp() as s:
            s.plain()


def test_ready_when_every_port_answers(start, manager):
    """At READY=1 all is there: no wait, no second try."""
    d = start(environment=manager.environment).spawn()
    assert manager.receive(20)["READY"] == "1"
    try:
        with d.ntp() as s:
            s.plain()
        assert d.associate().cookies
        assert d.get("/healthz")[0] in (200, 503)
        d.command("keys", "show")
    finally:
        d.stop()


@pytest.mark.parametrize("by", ["signal", "command"])
def test_reload_is_announced_and_ends(start, manager, by):
    with start(environment=manager.environment) as d:
        manager.until("READY")
        before = time.monotonic()
        if by == "signal":
            d.process.send_signal(signal.SIGHUP)
        else:
            d.command("reload")
        begun = manager.until("RELOADING")
        assert begun["RELOADING"] == "1"
        assert before <= int(begun["MONOTONIC_USEC"]) * 1e-6 + 1e-6 and \
            int(begun["MONOTONIC_USEC"]) * 1e-6 <= time.monotonic()
        assert manager.until("READY", 5)["READY"] == "1"


def test_reload_that_fails_ends_too(start, manager):
    with start(environment=manager.environment) as d:
        manager.until("READY")
        with open(d.config_file, "a", encoding="ascii") as f:
            f.write("nonsense = 1\n")
        assert d.ask("reload").returncode == 1
        manager.until("RELOADING")
        manager.until("READY", 5)


def test_stopping_is_said_before_the_end(start, manager):
    d = start(environment=manager.environment)
    with d:
        manager.until("READY")
    assert manager.until("STOPPING", 1)["STOPPING"] == "1"


def test_idle_shards_feed_the_watchdog(start, manager):
    with start(environment=manager.environment):
        for _ in range(4):
            manager.until("WATCHDOG", 4)  # WatchdogSec=15s of the unit has room for it


def test_status_comes_again(start, manager):
    with start(environment=manager.environment):
        manager.until("READY")
        assert "stratum 10" in manager.until("STATUS", 15)["STATUS"]


def test_watchdog_goes_hungry_while_one_shard_hangs(start, manager):
    """One thread of the process is stopped, as a hang would stop it; everything else goes on."""
    if os.geteuid() != 0:
        pytest.skip("only root may trace a daemon that is not dumpable: run this as root")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    with start(environment=manager.environment) as d:
        manager.until("WATCHDOG")
        shard = d.threads("shard", d.settings["ntp.shards"])[-1]
        assert libc.ptrace(PTRACE_SEIZE, shard, None, None) == 0, os.strerror(ctypes.get_errno())
        try:
            assert libc.ptrace(PTRACE_INTERRUPT, shard, None, None) == 0
            os.waitpid(shard, WALL)
            time.sleep(4)  # what it did before counts once more
            manager.drain()
            end = time.monotonic() + 5
            while time.monotonic() < end:
                message = manager.receive(1) or {}
                assert "WATCHDOG" not in message
            assert d.get("/healthz")[0] in (200, 503)  # the process as such is alive
        finally:
            assert libc.ptrace(PTRACE_DETACH, shard, None, None) == 0, os.strerror(ctypes.get_errno())
        manager.until("WATCHDOG", 5)
