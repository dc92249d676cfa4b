"""Debian's chronyd as a client of a daemon whose time is a rack's."""
import time

import pytest
from daemon import wait_for

from peers import Chrony
from rack import SimulatedRack, Watch, becomes, environment


@pytest.fixture
def rack(namespace, tmp_path):
    with SimulatedRack(tmp_path / "devices", "--warm-up", "3s") as running:
        yield running


def test_chronyd_follows_through_outage_and_recovery_without_a_step(rack, make_server, certificates, tmp_path):
    settings = {"clock.holdover_limit": "10ms", "clock.leap_file": ""}
    (tmp_path / "chrony").mkdir()
    with make_server(settings, refclock=rack.refclocks(), environment=environment()) as server, \
            Chrony(tmp_path / "chrony", server.ke_port, certificates.ca) as client:
        time.sleep(2)
        assert not client.synchronised()  # nobody knows the time yet
        becomes(server, "LOCKED")
        wait_for(client.synchronised, 60, "chronyd synchronised")
        begun = len(client.measurements())
        with Watch(server, rack) as watch:
            time.sleep(5)
            rack.do("gnss off")
            becomes(server, "HOLDOVER")
            time.sleep(15)
            wait_for(client.synchronised, 10, "still synchronised")
            rack.do("gnss on")
            becomes(server, "LOCKED")
            time.sleep(5)
        wait_for(client.synchronised, 10, "still synchronised")
        seen = client.measurements()[begun:]
    watch.check()
    assert len(seen) > 80
    for reply in seen:
        assert (reply["leap"], reply["stratum"]) == ("N", 1), reply
    for one, next_one in zip(seen, seen[1:]):
        # Each offset is right to half its delay and the server's bound; chronyd itself may slew a little meanwhile.
        room = sum(r["delay"] / 2 + r["root_delay"] / 2 + r["root_dispersion"] + r["dispersion"] for r in (one, next_one))
        assert abs(one["offset"] - next_one["offset"]) <= room, (one, next_one)
