"""One process serves NTP, another NTS-KE, or one does both."""
import contextlib
import os
import socket
import time

import pytest

import daemon as daemons
import ntslib as nts


def udp_sockets(d):
    """How many the process has."""
    mine = set()
    for fd in os.listdir(f"/proc/{d.process.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            target = os.readlink(f"/proc/{d.process.pid}/fd/{fd}")
            if target.startswith("socket:["):
                mine.add(target[len("socket:["):-1])
    count = 0
    for table in ("udp", "udp6"):
        with open(f"/proc/net/{table}", encoding="ascii") as rows:
            count += sum(row.split()[9] in mine for row in list(rows)[1:])
    return count


def test_nts_ke_only(start):
    with start({"ntp.listen": [], "nts_ke.server": ["a.test", "b.test"]}) as d:
        assert udp_sockets(d) == 0
        result = d.ke(nts.ke_request())
        assert result.one(nts.SERVER).body in (b"a.test", b"b.test")
        assert result.of(nts.PORT) == []  # clients go to 123
        assert len(result.association().cookies) == 8
        assert "serves no NTP" in d.log()
        assert not [m for m in d.metrics() if m.startswith("timeball_requests_total")]
        assert d.metric("timeball_nts_ke_connections_total", outcome="completed") == 1
        assert "current" in d.command("keys", "show")
        assert d.command("reload") == "reloaded\n"


def test_ntp_only_needs_no_certificate_and_opens_no_tcp_port(start):
    with start({"nts_ke.enabled": False, "nts_ke.certificate": "/nowhere", "nts_ke.private_key": "/nowhere"}) as d:
        assert udp_sockets(d) > 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((daemons.HOST, d.ke_port))
        with d.ntp() as s:
            s.plain()
        assert not [m for m in d.metrics() if m.startswith(("timeball_nts_ke", "timeball_certificate"))]
        assert d.command("reload") == "reloaded\n"


def test_what_contradicts_a_role_is_said(start):
    said = lambda d: (done := d.check()).stdout + done.stderr + f" exit {done.returncode}"
    both_off = said(start({"ntp.listen": [], "nts_ke.enabled": False}))
    assert "nothing is served" in both_off and not both_off.endswith(" exit 0")
    own_keys = said(start({"ntp.listen": [], "nts_ke.server": "a.test", "keys.file": ""}))
    assert "nobody could open the cookies given here" in own_keys and not own_keys.endswith(" exit 0")
    nowhere = said(start({"ntp.listen": []}))
    assert "names no NTP server for IPv4 clients" in nowhere and nowhere.endswith(" exit 0")


@pytest.fixture
def pair(start, tmp_path):
    """NTS-KE in one process, NTP in another, one key file."""
    shared = {"keys.file": str(tmp_path / "master-keys"), "keys.rotation": "4s"}
    ntp = start({**shared, "nts_ke.enabled": False})
    ke = start({**shared, "ntp.listen": [], "nts_ke.server": daemons.HOST, "nts_ke.port": ntp.ntp_port})
    with ke, ntp:
        yield ke, ntp


def test_the_ntp_server_follows_the_key_file_through_rotations(pair):
    ke, ntp = pair
    result = ke.ke(nts.ke_request())
    assert (result.one(nts.SERVER).body, int.from_bytes(result.one(nts.PORT).body, "big")) == (b"127.0.0.1", ntp.ntp_port)
    first = daemons.KeyFile.read(ke.settings["keys.file"]).current[0]
    old = result.association()
    rotations = lambda: (daemons.KeyFile.read(ke.settings["keys.file"]).current[0] - first) & 0xFFFFFFFF
    with ntp.ntp() as s:
        served = 0
        while rotations() < 4:
            s.nts(old)  # carries its new cookies on
            s.nts(ke.associate())
            served += 2
            time.sleep(0.1)
        assert served > 20
        assert ntp.verdict("nak") == 0
        ntp.restart()
        s.nts(ke.associate())
    daemons.wait_for(lambda: ntp.ask("keys", "verify").returncode == 0, 5, "the same keys")  # but for a second after each rotation


def test_the_ntp_server_follows_an_emergency_and_starts_none(pair):
    ke, ntp = pair
    a = ke.associate()
    for what in ("rotate", "rekey"):
        done = ntp.ask("keys", what)
        assert done.returncode != 0 and "only follows the key file" in done.stderr
    ke.command("keys", "rekey")
    with ntp.ntp() as s:
        def refused():
            s.send(nts.nts_request(a, cookie=a.cookies[0]).packet)
            return nts.Header.parse(s.receive()).reference_id == b"NTSN"

        daemons.wait_for(refused, 5, "the old cookie is worthless")
        s.nts(ke.associate())


def test_the_ntp_server_goes_on_when_the_key_file_is_damaged(pair):
    ke, ntp = pair
    a = ke.associate()
    ke.kill()
    path = ntp.settings["keys.file"]
    with open(path, "rb") as f:
        whole = f.read()
    daemons.write_file(path, whole[:-9])
    daemons.wait_for(lambda: "The master keys in use stay." in ntp.log(), 5, "said")
    time.sleep(2.2)
    assert ntp.log().count("The master keys in use stay.") == 1
    with ntp.ntp() as s:
        s.nts(a)
