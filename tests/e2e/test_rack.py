"""The daemon on a rack: a simulated receiver and rubidium on ptys, their pulses through the real ioctl code."""
import contextlib
import json
import os
import struct
import socket
import subprocess
import threading
import time

import pytest

import daemon as daemons
from rack import Reading, SimulatedRack, Watch, alarm, becomes, environment, state

SETTINGS = {"ntp.shards": 1, "nts_ke.enabled": False, "clock.holdover_limit": "10ms", "clock.leap_file": ""}
GPS, NONE = b"GPS\0", bytes(4)


@pytest.fixture(scope="module")
def rack(tmp_path_factory):
    with SimulatedRack(tmp_path_factory.mktemp("rack") / "devices", "--offset", "250ms", "--warm-up", "3s") as running:
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="module")
def server(start, rack):
    with start(SETTINGS, refclock=rack.refclocks(), environment=environment()) as d:
        yield d


@pytest.fixture
def locked(server, rack):
    becomes(server, "LOCKED")
    return server


def lines(server, text):
    return [line for line in server.log().splitlines() if text in line]


# In this order: one rack, one daemon.


def test_serves_nothing_before_it_knows(start, rack):
    with start(SETTINGS, refclock=rack.refclocks(), environment=environment()) as d:
        first = Reading(d, rack)
    assert (first.header.leap, first.header.stratum, first.header.reference_id) == (3, 0, NONE), first
    assert first.dispersion_ns == 1e9


def test_locks_and_serves_the_rack_and_not_the_kernel(locked, rack):
    with Watch(locked, rack) as watch:
        time.sleep(3)
    watch.check()
    last = watch.readings[-1]
    assert (last.header.leap, last.header.stratum, last.header.reference_id) == (0, 1, GPS), last
    assert last.dispersion_ns < 22e3 + 15300, last  # 20 us of latency and 2; in units of 15.3 us, rounded up
    for name in ("timeball_gnss_usable", "timeball_gnss_configured", "timeball_rubidium_locked"):
        assert locked.metric(name) == 1, name
    assert locked.metric("timeball_gnss_satellites_used") == 14
    assert locked.metric("timeball_rubidium_temperature_celsius") > 20
    assert locked.metric("timeball_gnss_labels_total", trusted="yes") > 5


def test_outage_and_recovery_without_a_step(locked, rack):
    with Watch(locked, rack) as watch:
        rack.do("gnss off")
        becomes(locked, "HOLDOVER")
        time.sleep(10)
        held = Reading(locked, rack)
        rack.do("gnss on")
        becomes(locked, "LOCKED")
        time.sleep(2)
    watch.check()
    assert (held.header.leap, held.header.stratum, held.header.reference_id) == (0, 1, GPS), held
    assert all(r.header.stratum == 1 for r in watch.readings)
    assert not alarm(locked, "bound-exceeded")


def test_wrong_label_is_an_alarm_and_never_the_time(locked, rack):
    with Watch(locked, rack) as watch:
        rack.do("gnss label 1")
        daemons.wait_for(lambda: alarm(locked, "label-disagrees"), 15, "the alarm")
        time.sleep(8)
        rack.do("gnss label 0")
    watch.check()
    # That receiver is out for an hour, or until the operator says otherwise; the rubidium is not.
    assert state(locked) == "HOLDOVER"
    assert locked.metric("timeball_refclock_flag", flag="suspect") == 1
    locked.command("readmit")
    becomes(locked, "LOCKED")
    assert locked.metric("timeball_refclock_flag", flag="suspect") == 0


def test_second_daemon_on_the_ports_is_told(server, start, rack):
    with start(SETTINGS, refclock=rack.refclocks(), environment=environment()) as second:
        in_use = "in use by another process, which fuser -v names to root; trying again every second"
        daemons.wait_for(lambda: len(lines(second, in_use)) == 2, 15, "told, once for each port")
        time.sleep(2)
        assert len(lines(second, in_use)) == 2
        assert second.metric("timeball_serial_open_failures_total", line="gnss") >= 2


# Devices that come and go.


@pytest.fixture(scope="module")
def other_rack(tmp_path_factory):
    with SimulatedRack(tmp_path_factory.mktemp("rack") / "devices", "--warm-up", "3s", "--seed", "2") as running:
        yield running


@pytest.fixture(scope="module")
def other(start, other_rack):
    """A daemon that has not excluded its receiver."""
    with start(SETTINGS, refclock=other_rack.refclocks(), environment=environment()) as d:
        becomes(d, "LOCKED")
        yield d


def test_unplugged_for_half_a_minute(other, other_rack):
    with Watch(other, other_rack) as watch:
        for port in ("gnss", "pps-rubidium"):
            other_rack.do(port + " unplug")
        time.sleep(30)
        for port in ("gnss", "pps-rubidium"):
            other_rack.do(port + " plug")
        becomes(other, "LOCKED")
        daemons.wait_for(lambda: other.metric("timeball_gnss_configured") == 1, 15, "set up again")
    watch.check()
    assert len(lines(other, other_rack.path("gnss") + ": lost")) == 1
    assert len(lines(other, other_rack.path("pps-rubidium") + ": lost")) == 1
    assert other.metric("timeball_serial_lost_total", line="gnss") == 1
    assert other.metric("timeball_serial_opened_total", line="gnss") == 2
    assert other.metric("timeball_pulse_lost_total", pulse="rubidium") == 1
    assert other.metric("timeball_serial_open_failures_total", line="gnss") > 20


def test_garbage_as_at_a_wrong_rate(other, other_rack):
    refused = other.metric("timeball_gnss_refusals_total")
    with Watch(other, other_rack) as watch:
        other_rack.do("gnss garbage 12s")
        daemons.wait_for(lambda: lines(other, "octets that are no message of a receiver"), 15, "said so")
        becomes(other, "LOCKED", 90)
    watch.check()
    assert len(lines(other, "octets that are no message of a receiver")) == 1
    assert other.metric("timeball_gnss_refusals_total") > refused


def test_second_process_on_the_port_is_named(start, tmp_path):
    """Where the daemon may see it: in no sandbox, a process that has no more rights."""
    no_rights = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    with SimulatedRack(tmp_path / "devices", "--warm-up", "3s") as rack, \
         start({**SETTINGS, "process.sandbox": "off"}, refclock=rack.refclocks(), environment=environment()) as d:
        daemons.wait_for(lambda: lines(d, "/rubidium: open"), what="open")  # and not its pulse, pps-rubidium
        fd = os.open(os.path.realpath(rack.path("rubidium")), os.O_RDONLY | os.O_NOCTTY)
        with subprocess.Popen([*no_rights, "sleep", "60"], stdin=fd) as intruder:
            os.close(fd)
            try:
                daemons.wait_for(lambda: lines(d, f"sleep (pid {intruder.pid}) has opened it too"), 40, "named")
            finally:
                intruder.terminate()
        daemons.wait_for(lambda: lines(d, "has left it"), 40, "gone")
        assert d.metric("timeball_serial_intruders_total", line="rubidium") == 1


def test_receiver_that_forgets_its_setting_is_set_up_again(other, other_rack):
    before = other.metric("timeball_gnss_configurations_total")
    other_rack.do("gnss reboot")
    daemons.wait_for(lambda: other.metric("timeball_gnss_configurations_total") > before, 60, "set up again")
    daemons.wait_for(lambda: other.metric("timeball_gnss_configured") == 1, 15, "set up")


def test_rubidium_that_restarts_is_noticed(other, other_rack):
    other_rack.do("rubidium reboot")
    daemons.wait_for(lambda: other.metric("timeball_refclock_alarms_total", alarm="rubidium-jumped") > 1, 15, "noticed")
    becomes(other, "LOCKED")


# What is beyond the limits.


def test_holdover_ends_at_the_limit(start, tmp_path):
    with SimulatedRack(tmp_path / "devices", "--warm-up", "3s") as rack:
        with start({**SETTINGS, "clock.holdover_limit": "30us"}, refclock=rack.refclocks(),
                   environment=environment()) as d:
            becomes(d, "LOCKED")
            with Watch(d, rack) as watch:
                rack.do("gnss off")
                becomes(d, "FREERUN", 120)
            watch.check()
            out = Reading(d, rack)
            assert (out.header.leap, out.header.stratum, out.header.reference_id) == (3, 0, NONE), out
            assert alarm(d, "bound-exceeded")
            rack.do("gnss on")
            becomes(d, "LOCKED")


@pytest.mark.parametrize("model", ("sa5x", "sa22c"))
def test_other_oscillators(start, tmp_path, model):
    with SimulatedRack(tmp_path / "devices", "--rubidium", model, "--warm-up", "3s") as rack:
        with start(SETTINGS, refclock=rack.refclocks(model), environment=environment()) as d:
            becomes(d, "LOCKED")
            daemons.wait_for(lambda: d.metric("timeball_rubidium_locked") == 1, 15, "the rubidium")
            assert d.metric("timeball_refclock_flag", flag="degraded") == 0


def test_receiver_of_nmea_only(start, tmp_path):
    with SimulatedRack(tmp_path / "devices", "--receiver", "nmea", "--rubidium", "none") as rack:
        refclocks = rack.refclocks(rubidium=None)
        refclocks[0]["settling"] = "1s"
        with start(SETTINGS, refclock=refclocks, environment=environment()) as d:
            becomes(d, "LOCKED")
            with Watch(d, rack) as watch:
                time.sleep(3)
            watch.check()
            assert lines(d, "no u-blox receiver has answered")


# Other programs.


def test_sock_samples_are_the_time_when_there_are_no_pulses(start, tmp_path):
    path = str(tmp_path / "sock")
    refclocks = [{"driver": "sock", "device": path, "error_bound": "2ms"}]
    with start(SETTINGS, refclock=refclocks) as d:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect(path)
            for _ in range(12):
                now = time.time_ns()
                s.send(struct.pack("qqdiiii", now // 10**9, now % 10**9 // 1000, 0.5, 0, 0, 0, 0x534F434B))
                time.sleep(0.5)
        daemons.wait_for(lambda: d.metric("timeball_samples_total", source="0") == 12, what="all of them")
        becomes(d, "LOCKED")
        assert d.metric("timeball_clock_offset_seconds") == pytest.approx(0.5, abs=2e-3)


class FakeGpsd:
    """Speaks gpsd's protocol to one client at a time: each second a stamp of the pulse, exact, and its name."""

    DEVICE = "/dev/ttyS0"

    def __init__(self, offset_ns):
        self.offset_ns = offset_ns  # true UTC minus the system's clock
        self.listener = socket.create_server((daemons.HOST, 0))
        self.port = self.listener.getsockname()[1]
        self.asked = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def truth_ns(self):
        return self.offset_ns

    def _run(self):
        while not self._stop.is_set():
            with contextlib.suppress(OSError):  # the client has gone, or we shall
                client, _ = self.listener.accept()
                with client, client.makefile("rw") as lines:
                    self._serve(lines)

    def _say(self, lines, report_class, **report):
        lines.write(json.dumps({"class": report_class, **report}) + "\r\n")
        lines.flush()

    def _serve(self, lines):
        self._say(lines, "VERSION", release="3.22", rev="3.22", proto_major=3, proto_minor=14)
        self.asked.append(lines.readline())
        self._say(lines, "DEVICES", devices=[{"class": "DEVICE", "path": self.DEVICE}])
        self._say(lines, "WATCH", enable=True, json=True, pps=True)
        second = (time.time_ns() + self.offset_ns) // 10**9
        while True:
            second += 1
            edge_ns = second * 10**9 - self.offset_ns
            if self._stop.wait(max(0, edge_ns - time.time_ns()) * 1e-9):
                return
            self._say(lines, "PPS", device=self.DEVICE, real_sec=second, real_nsec=0, clock_sec=edge_ns // 10**9,
                      clock_nsec=edge_ns % 10**9, precision=-20)
            self._stop.wait(0.1)
            self._say(lines, "TPV", device=self.DEVICE, mode=3, leapseconds=18, ept=0.005,
                      time=time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(second)))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.listener.close()


def test_stamps_of_gpsd_are_the_time_when_there_is_no_pulse_of_ours(start):
    with FakeGpsd(offset_ns=250_000_000) as gpsd:
        refclocks = [{"driver": "gpsd", "gpsd": f"{daemons.HOST}:{gpsd.port}"}]
        with start(SETTINGS, refclock=refclocks) as d:
            becomes(d, "LOCKED", 30)
            with Watch(d, gpsd) as watch:
                time.sleep(3)
            watch.check()
            assert all(abs(r.error_ns) < 1e6 + r.margin_ns for r in watch.readings), watch.readings
            assert watch.readings[-1].header.stratum == 1
            assert d.metric("timeball_gpsd_pulses_total") >= 5
            assert d.metric("timeball_gpsd_refused_total") == 0
    assert len(gpsd.asked) == 1 and '"pps":true' in gpsd.asked[0]
