"""gpsd as a reference clock: Debian's gpsd, fed by its own gpsfake from a real receiver's log, names the seconds of
a simulated pulse."""
import os
import signal

import pytest
import rack as racks
from daemon import wait_for
from peers import Gpsd
from receiver_logs import log_file

# A u-blox 8 in 2017: 86 seconds, with UBX alone. NAV-SOL is the first message of each.
LOG, NAV_SOL = "ublox-8-time", b"\xb5b\x01\x06"
AFTER_PULSE_S = 0.4


@pytest.fixture
def gpsd(tmp_path):
    with Gpsd(tmp_path, log_file(LOG), NAV_SOL) as running:
        yield running


@pytest.fixture
def served(make_server, gpsd, tmp_path):
    """A timeballd with that gpsd and pulses; the log's seconds come so long after them as a receiver's do."""
    second, now = gpsd.second()
    offset_ms = int((AFTER_PULSE_S - now) % 1 * 1000)
    with racks.SimulatedRack(tmp_path / "rack", "--rubidium", "none", "--offset", f"{offset_ms}ms") as rack:
        refclock = [{"driver": "gpsd", "gpsd": f"127.0.0.1:{gpsd.port}"},
                    {"driver": "pps", "device": rack.path("pps-gnss")}]
        with make_server({"clock.leap_file": ""}, refclock=refclock, environment=racks.environment()) as server:
            server.log_is_ahead = second - now
            yield server


def labels(server):
    return server.metric("timeball_gnss_labels_total", trusted="yes")


def test_its_labels_number_the_pulses(served):
    racks.becomes(served, "LOCKED", 30)
    assert labels(served) >= 5
    assert served.metric("timeball_gpsd_reports_total") > labels(served)
    assert served.metric("timeball_gpsd_refused_total") == 0
    assert served.metric("timeball_gpsd_pulses_total") == 0
    assert served.metric("timeball_gnss_usable") == 1
    wait_for(lambda: served.metric("timeball_gnss_satellites_in_view") > 20, 15, "satellites")
    assert served.metric("timeball_gnss_satellites_used") >= 4
    # Time is the log's now: 2017. As it was in the beginning: gpsfake falls behind with each stall.
    after = served.metric("timeball_clock_offset_seconds") - served.log_is_ahead
    assert after == pytest.approx(AFTER_PULSE_S, abs=0.3)


def test_goes_and_comes_again(gpsd, served):
    racks.becomes(served, "LOCKED", 30)
    os.kill(gpsd.pid(), signal.SIGTERM)
    wait_for(lambda: served.metric("timeball_gpsd_lost_total") == 1, 10, "lost")
    gpsd.process.wait(10)
    wait_for(lambda: served.metric("timeball_gpsd_connection_failures_total") >= 3, 15, "tried again")
    before = labels(served)
    gpsd.run()
    wait_for(lambda: labels(served) >= before + 3, 20, "labels again")
    assert served.metric("timeball_gpsd_connected_total") == 2
    assert served.metric("timeball_gpsd_lost_total") == 1
    assert served.metric("timeball_gpsd_refused_total") == 0
    told = [line.split(f"port {gpsd.port}: ")[1].split(":")[0] for line in served.log().splitlines()
            if "gpsd at" in line]
    assert told == ["connected", "lost", "connected"]
