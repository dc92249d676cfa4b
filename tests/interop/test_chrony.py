"""Debian's chronyd as a client: it must synchronise by NTS, and survive what happens to the server's keys."""
import os
import time

import pytest
from daemon import wait_for
from peers import Chrony, key_exchanges, verdicts


@pytest.fixture
def chrony(server, certificates, tmp_path):
    with Chrony(tmp_path, server.ke_port, certificates.ca) as client:
        wait_for(client.synchronised, 30, "chronyd synchronised")
        yield client


def wait_for_replies(client, count):
    """That many more authenticated replies."""
    before = client.authenticated_replies()
    wait_for(lambda: client.authenticated_replies() >= before + count, 30, f"{count} authenticated replies")


def with_all_cookies(client):
    """Its authdata while no request is on its way: that has a cookie with it."""
    return wait_for(lambda: auth if (auth := client.authdata())["Cook"] == 8 else None, 10, "all cookies back")


def test_establishes_nts_and_stays_synchronised(server, chrony):
    wait_for_replies(chrony, 12)
    auth = with_all_cookies(chrony)
    assert (auth["Mode"], auth["Type"], auth["KLen"], auth["CLen"]) == ("NTS", 15, 256, 100)
    assert (auth["NAK"], auth["Atmp"]) == (0, 0), auth
    data = wait_for(lambda: data if (data := chrony.ntpdata())["Total TX"] == data["Total valid RX"] else None, 10,
                    "every request answered")
    assert data["Authenticated"] == "Yes", data
    assert data["Remote port"] == str(server.ntp_port), "record 7 was not honoured"
    wait_for(chrony.synchronised, 10, "still synchronised")


def test_needs_no_new_key_exchange_when_the_server_restarts(server, chrony):
    since = time.monotonic() - chrony.authdata()["Last"]
    time.sleep(3)
    server.restart()
    wait_for_replies(chrony, 8)
    auth = with_all_cookies(chrony)
    assert auth["Last"] >= int(time.monotonic() - since) - 2, f"a new NTS-KE: {auth}"
    assert auth["NAK"] == 0, auth
    assert key_exchanges(server) == 0
    wait_for(chrony.synchronised, 10, "still synchronised")


def test_gets_a_nak_and_exchanges_keys_again_when_the_master_keys_are_gone(server, chrony):
    time.sleep(3)
    server.stop()
    os.unlink(server.key_file)
    server.start()
    restarted = time.monotonic()
    wait_for(lambda: verdicts(server, "nak") >= 1, 20, "a NAK")
    wait_for(lambda: key_exchanges(server) >= 1, 30, "a new NTS-KE")
    wait_for_replies(chrony, 8)
    auth = with_all_cookies(chrony)
    assert auth["Last"] <= time.monotonic() - restarted + 1, auth
    assert (auth["Mode"], auth["NAK"]) == ("NTS", 0), auth
    wait_for(chrony.synchronised, 20, "synchronised again")
