"""tshark reads over our shoulder: NTS-KE (with the client's TLS key log) and NTS packets of all four AEADs."""
import shutil
import signal
import subprocess
import time
from pathlib import Path

import ntslib as nts
import pytest
from daemon import wait_for

DISSECTOR = Path(__file__).with_name("nts_ke.lua")
# Wireshark's PI_WARN (errors are above), and the group of TCP's own remarks (retransmissions on a busy machine).
EXPERT_WARNING, EXPERT_SEQUENCE = 0x600000, 0x2000000


class Capture:
    """What passes over loopback on a server's two ports while the context is entered."""

    def __init__(self, directory, server):
        assert shutil.which("tshark"), "tshark is not installed"
        self.file, self.keylog = directory / "capture.pcapng", directory / "keys"
        self.server, self.log = server, directory / "tshark.log"
        self.ports = f"port {server.ke_port} or port {server.ntp_port}"

    def __enter__(self):
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(["tshark", "-i", "lo", "-f", self.ports, "-w", self.file], stdout=log,
                                            stderr=log)
        wait_for(lambda: "Capture started" in self.log.read_text(), 20, "tshark captures")
        return self

    def __exit__(self, *_):
        time.sleep(0.5)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def fields(self, display_filter, *names):
        """One row a packet; a row holds, for each name, the list of its values."""
        options = [word for name in names for word in ("-e", name)]
        out = self.read("-Y", display_filter, "-T", "fields", "-E", "aggregator=,", *options)
        return [[cell.split(",") if cell else [] for cell in line.split("\t")] for line in out.splitlines()]

    def read(self, *options):
        return subprocess.run(
            ["tshark", "-r", self.file, "-X", f"lua_script:{DISSECTOR}", "-o", f"tls.keylog_file:{self.keylog}",
             "-d", f"tcp.port=={self.server.ke_port},tls", "-d", f"udp.port=={self.server.ntp_port},ntp", *options],
            capture_output=True, text=True, check=True, timeout=60).stdout


def authenticator(value):
    """Nonce and ciphertext of the field's value (RFC 8915, section 5.6)."""
    octets = bytes.fromhex(value)
    nonce_length, length = (int.from_bytes(octets[i:i + 2], "big") for i in (0, 2))
    nonce, sealed = octets[4:], octets[4 + (nonce_length + 3) // 4 * 4:]
    assert len(sealed) >= length, "the ciphertext is longer than the field"
    return nonce[:nonce_length], sealed[:length]


@pytest.fixture(scope="module", params=nts.AEADS)
def session(request, certificates, tmp_path_factory):
    """One NTS-KE and two NTS exchanges (no placeholder, three placeholders), captured."""
    import daemon as daemons

    with daemons.Daemon(tmp_path_factory.mktemp("server"), certificates) as server:
        with Capture(tmp_path_factory.mktemp("capture"), server) as capture:
            result = nts.key_exchange("127.0.0.1", server.ke_port, nts.ke_request([request.param]),
                                      server_name="localhost", ca_file=certificates.ca, keylog=capture.keylog)
            association = result.association()
            with server.ntp() as s:
                replies = [s.nts(association), s.nts(association, placeholders=3)]
        yield request.param, server, capture, result, association, replies


def test_nothing_is_malformed(session):
    capture = session[2]
    frames = capture.fields("ntp or ntske", "frame.number")
    assert len(frames) == 6, "tshark must see two NTS-KE messages and four NTP packets"
    assert capture.fields("_ws.malformed", "frame.number") == []
    for severities, groups, messages in capture.fields("_ws.expert", "_ws.expert.severity", "_ws.expert.group",
                                                       "_ws.expert.message"):
        remarks = zip(map(int, severities), map(int, groups), strict=True)
        assert all(s < EXPERT_WARNING or g == EXPERT_SEQUENCE for s, g in remarks), messages
    assert "Malformed" not in capture.read("-V")


def test_the_key_exchange_is_tls_1_3_with_the_records_that_were_agreed(session):
    aead, server, capture, result, *_ = session
    assert capture.fields("tls.handshake.type == 2", "tls.handshake.extensions.supported_version") == [[["0x0304"]]]
    assert capture.fields("tls.alert_message.desc", "tls.alert_message.desc")[:1] == [[["0"]]], "no close_notify"
    request, response = capture.fields("ntske", "ntske.type", "ntske.value", "ntske.length", "ntske.cookie")
    context = ["1024"] if aead == nts.GCMSIV else []
    assert sorted(request[0]) == sorted(["1", "4", "0", *context])
    assert response[0][-1] == "0" and sorted(response[0]) == sorted(["1", "4", "7", *context, *["5"] * 8, "0"])
    assert sorted(response[1]) == sorted(["0", str(aead), str(server.ntp_port)])
    assert response[3] == [cookie.hex() for cookie in result.cookies]


def test_packets_hold_the_fields_of_rfc_8915(session):
    capture, result = session[2], session[3]
    rows = capture.fields("ntp", "ntp.flags.mode", "ntp.ext.type", "ntp.ext.value", "udp.length")
    uid, cookie, placeholder, sealed = "0x0104", "0x0204", "0x0304", "0x0404"
    assert [(row[0], row[1]) for row in rows] == [
        (["3"], [uid, cookie, sealed]),
        (["4"], [uid, sealed]),
        (["3"], [uid, cookie, *[placeholder] * 3, sealed]),
        (["4"], [uid, sealed]),
    ]
    for (request, reply), spent in zip((rows[0:2], rows[2:4]), result.cookies):
        assert reply[2][0] == request[2][0], "the reply's unique identifier differs"
        assert request[2][1] == spent.hex()
        assert int(reply[3][0]) <= int(request[3][0]), "the reply is longer than the request"


def test_authenticators_open_with_the_keys_of_the_key_exchange(session):
    aead, _, capture, _, association, replies = session
    rows = capture.fields("ntp", "ntp.flags.mode", "ntp.ext.value", "udp.payload")
    for mode, values, payload in rows:
        nonce, ciphertext = authenticator(values[-1])
        assert len(nonce) == nts.NONCE_LENGTH[aead]
        packet = bytes.fromhex(payload[0])
        associated = packet[:-4 - len(values[-1]) // 2]  # up to the authenticator's field header
        key = association.c2s if mode == ["3"] else association.s2c
        plaintext = nts.open_sealed(aead, key, nonce, associated, ciphertext)
        if mode == ["4"]:
            fields = nts.parse_fields(plaintext, min_length=4)
            assert [f.type for f in fields] == [nts.COOKIE] * (1 if payload is rows[1][2] else 4)
    assert [len(reply.cookies) for reply in replies] == [1, 4]
