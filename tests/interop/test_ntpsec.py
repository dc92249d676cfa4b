"""NTPsec's ntpd as a client: it must synchronise by NTS, and survive what happens to the server's keys."""
import os
import time

import pytest
from daemon import wait_for
from peers import Ntpsec, key_exchanges, verdicts

REPLIES, KEY_EXCHANGES = "NTS client recvs good", "NTS KE client probes good"


@pytest.fixture
def ntpsec(server, certificates, tmp_path):
    with Ntpsec(tmp_path, server.ke_port, certificates.ca) as client:
        wait_for(client.synchronised, 60, "ntpd synchronised")
        yield client


def wait_for_replies(client, count):
    """That many more authenticated replies."""
    before = client.counters()[REPLIES]
    wait_for(lambda: client.counters().get(REPLIES, 0) >= before + count, 60, f"{count} authenticated replies")


def test_establishes_nts_and_stays_synchronised(server, ntpsec):
    wait_for_replies(ntpsec, 5)
    counters = ntpsec.counters()
    assert counters[KEY_EXCHANGES] == 1 and counters["NTS KE client probes bad"] == 0, counters
    assert counters["NTS client recvs w error"] == 0, counters
    assert ntpsec.association()["srcport"] == str(server.ntp_port)
    wait_for(lambda: ntpsec.association().get("ntscookies") == "8", 20, "8 cookies")
    wait_for(ntpsec.synchronised, 20, "still synchronised")


def test_needs_no_new_key_exchange_when_the_server_restarts(server, ntpsec):
    server.restart()
    wait_for_replies(ntpsec, 5)
    counters = ntpsec.counters()
    assert counters[KEY_EXCHANGES] == 1 and counters["NTS client recvs w error"] == 0, counters
    assert key_exchanges(server) == 0
    wait_for(lambda: ntpsec.association().get("ntscookies") == "8", 20, "8 cookies")
    assert ntpsec.synchronised()


def test_exchanges_keys_again_when_the_master_keys_are_gone(server, ntpsec):
    server.stop()
    os.unlink(server.key_file)
    server.start()
    wait_for(lambda: verdicts(server, "nak") >= 1, 20, "a NAK")
    wait_for(lambda: ntpsec.counters().get(KEY_EXCHANGES) == 2, 120, "a new NTS-KE")
    wait_for_replies(ntpsec, 5)
    wait_for(lambda: ntpsec.association().get("ntscookies") == "8", 20, "8 cookies")
    assert key_exchanges(server) == 1
    time.sleep(2)
    wait_for(ntpsec.synchronised, 20, "synchronised again")
