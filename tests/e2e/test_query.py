"""`timeball query` and `timeball cert lab`: every class of failure against a server that has it."""
import contextlib
import datetime
import ipaddress
import json
import os
import select
import socket
import stat
import subprocess
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

import daemon as daemons
import ntslib as nts

BINARY = os.path.join(daemons.BUILD, "server", "timeball")
HOST = "127.0.0.1"
AUTHENTIC, LOCAL, USAGE, UNREACHABLE, TLS, KE, NO_REPLY, REFUSED, NOT_AUTHENTIC, UNSYNCHRONISED = range(10)


def timeball(*arguments, timeout=30, **environment):
    result = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                            stdin=subprocess.DEVNULL, env={**os.environ, **environment})
    assert not daemons.SANITIZER_REPORT.search(result.stderr), result.stderr
    return result


def query(server, *options, host=HOST, ca=None, patience=10, **keywords):
    """Against a FaultServer, trusting its CA."""
    return timeball("query", host, "--ke-port", server.ke_port, "--ca", ca or server.ca, "--timeout", patience,
                    *options, **keywords)


def expect(result, status, *words):
    """The exit status, and the words in the one line that says cause and cure."""
    assert result.returncode == status, result.stdout + result.stderr
    last = result.stdout.splitlines()[-1]
    assert last.startswith("FAILED (") or status == AUTHENTIC, last
    for word in words:
        assert word in last, last


# --- Certificates ----------------------------------------------------------------------------------


class Certificate:
    """A certificate and its key, in files. issuer: another Certificate; None: self-signed."""

    def __init__(self, directory, name, issuer=None, ca=False, names=(HOST, "localhost"), days=(-1, 90)):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer or self
        now = datetime.datetime.utcnow()
        builder = (x509.CertificateBuilder().subject_name(self.subject).issuer_name(signer.subject)
                   .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now + datetime.timedelta(days=days[0]))
                   .not_valid_after(now + datetime.timedelta(days=days[1]))
                   .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True))
        if names and not ca:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(general_name, names))), False)
        octets = builder.sign(signer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        self.path = os.path.join(directory, name.replace(" ", "-") + ".pem")
        self.key_path = self.path + ".key"
        daemons.write_file(self.path, octets)
        daemons.write_file(self.key_path, self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def general_name(text):
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(text))
    return x509.DNSName(text)


class Certificates:
    def __init__(self, directory):
        self.ca = Certificate(directory, "Test CA", ca=True)
        self.other_ca = Certificate(directory, "Other CA", ca=True)
        self.good = Certificate(directory, "good", self.ca)
        self.expired = Certificate(directory, "expired", self.ca, days=(-30, -3))
        self.future = Certificate(directory, "future", self.ca, days=(3, 30))
        self.other_name = Certificate(directory, "other name", self.ca, names=("ntp.other.test", "192.0.2.1"))
        self.no_names = Certificate(directory, "localhost", self.ca, names=())
        self.hostile = Certificate(directory, "host\x1b[31mile\u00e9", self.ca, names=("x\x1b[2J.test",))
        self.self_signed = Certificate(directory, "self-signed")


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Certificates(str(tmp_path_factory.mktemp("pki")))


# --- The server with faults ------------------------------------------------------------------------


class FaultServer:
    """NTS-KE and NTP on loopback, in order unless told otherwise.

    alpn: "select", "none" or "refuse". versions: lowest and highest TLS version.
    respond(server, aead): the octets of the NTS-KE response; None: stay silent.
    ntp(server, packet): the datagrams to answer with. raw: instead of TLS, send these octets.
    """

    def __init__(self, pki, certificate=None, alpn="select", versions=(SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION),
                 respond=None, ntp=None, raw=None):
        certificate = certificate or pki.good
        self.ca = pki.ca.path
        self.respond, self.answer, self.raw = respond or good_response, ntp or good_reply, raw
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.set_min_proto_version(versions[0])
        self.context.set_max_proto_version(versions[1])
        self.context.use_certificate_chain_file(certificate.path)
        self.context.use_privatekey_file(certificate.key_path)
        if alpn != "none":
            self.context.set_alpn_select_callback(select_alpn if alpn == "select" else refuse_alpn)
        self.tcp = socket.create_server((HOST, 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((HOST, 0))
        self.ke_port, self.ntp_port = self.tcp.getsockname()[1], self.udp.getsockname()[1]
        self.association, self.packets = None, []
        self.stopping, self.threads = socket.socketpair(), []

    def __enter__(self):
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self._serve_ke, self._serve_ntp)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping[0].close()
        for thread in self.threads:
            thread.join(10)
        for s in (self.tcp, self.udp, self.stopping[1]):
            s.close()

    def _ready(self, *sockets):
        """Whether one of these is readable; False: the server is to stop."""
        return self.stopping[1] not in select.select([*sockets, self.stopping[1]], [], [])[0]

    def _serve_ke(self):
        while self._ready(self.tcp):
            peer, _ = self.tcp.accept()
            with peer, contextlib.suppress(SSL.Error, OSError, RefusedAlpn):
                self._converse(peer)

    def _converse(self, peer):
        if self.raw is not None:
            peer.sendall(self.raw)
            if not self.raw:
                self._ready(peer)  # the ClientHello
                time.sleep(0.05)
                self._ready()
            return
        tls = SSL.Connection(self.context, peer)
        tls.set_accept_state()
        tls.do_handshake()
        request = b""
        while not request.endswith(nts.eom()):
            request += tls.recv(65536)
        [offered] = [r.words() for r in nts.parse_records(request) if r.type == nts.AEAD]
        aead = offered[0]
        keys = [tls.export_keying_material(nts.EXPORTER_LABEL, nts.KEY_LENGTH[aead],
                                           nts.exporter_context(aead, s2c)) for s2c in (False, True)]
        self.association = nts.Association(aead, *keys)
        response = self.respond(self, aead)
        if response is None:
            return self._ready()
        tls.sendall(response)
        with contextlib.suppress(SSL.Error):
            tls.shutdown()

    def _serve_ntp(self):
        while self._ready(self.udp):
            packet, client = self.udp.recvfrom(65536)
            self.packets.append(packet)
            for reply in self.answer(self, packet):
                self.udp.sendto(reply, client)


class RefusedAlpn(Exception):
    pass


def select_alpn(_connection, offered):
    return nts.ALPN if nts.ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def refuse_alpn(_connection, _offered):
    raise RefusedAlpn  # becomes the alert no_application_protocol


def response_head(aead):
    compliant = nts.record(nts.COMPLIANT_GCM_SIV) if aead == nts.GCMSIV else b""
    return nts.next_protocol(0) + nts.aead_record(aead) + compliant


def port_record(port):
    return nts.record(nts.PORT, nts.words(port), critical=True)


def good_response(server, aead, extra=b"", port=None, cookies=8):
    return (response_head(aead) + b"".join(nts.record(nts.NEW_COOKIE, os.urandom(100)) for _ in range(cookies))
            + extra + port_record(port or server.ntp_port) + nts.eom())


def response(octets):
    return lambda _server, _aead: octets


def reply_header(packet, **fields):
    now = int((time.time() + nts.UNIX_TO_NTP) * 2**32) & (2**64 - 1)
    request = nts.Header.parse(packet)
    values = {"mode": 4, "stratum": 1, "reference_id": b"PPS\0", "precision": -23, "root_delay": 1 << 8,
              "root_dispersion": 1 << 4, "reference": now, "origin": request.transmit, "receive": now,
              "transmit": now, **fields}
    return nts.Header(**values)


def request_fields(packet):
    fields = nts.parse_fields(packet[nts.HEADER_LENGTH :], nts.HEADER_LENGTH)
    return {t: [f.body for f in fields if f.type == t] for t in (nts.UID, nts.COOKIE, nts.PLACEHOLDER)}


def good_reply(server, packet, give=None, corrupt=False, key=None, **header):
    """An authenticated reply; a bare header to a plain request."""
    head = reply_header(packet, **header).pack()
    if len(packet) == nts.HEADER_LENGTH:
        return [head]
    fields = request_fields(packet)
    head += nts.field(nts.UID, fields[nts.UID][0])
    count = 1 + len(fields[nts.PLACEHOLDER]) if give is None else give
    cookies = b"".join(nts.field(nts.COOKIE, os.urandom(100)) for _ in range(count))
    association = server.association
    return [head + nts.authenticator(association.aead, key or association.s2c, head, cookies, corrupt=corrupt)]


def nak(_server, packet):
    head = reply_header(packet, leap=3, stratum=0, reference_id=b"NTSN").pack()
    return [head + nts.field(nts.UID, request_fields(packet)[nts.UID][0])]


# --- In order --------------------------------------------------------------------------------------


@pytest.mark.parametrize("aead", nts.AEADS)
def test_authentic_reply_is_reported_step_by_step(pki, aead):
    with FaultServer(pki) as server:
        result = query(server, "--aead", aead)
        expect(result, AUTHENTIC, "OK: the reply is authentic")
        for fact in ("TLSv1.3", "TLS_AES_", "subject  CN=good", "names    127.0.0.1, localhost", "CN=Test CA",
                     "days left", "verified", "ntske/1", f"AEAD     {aead} AEAD_AES", "8 of 100 octets",
                     f"port     {server.ntp_port}", f"NTP server   {HOST}:{server.ntp_port}", "stratum 1",
                     "reference PPS", "authentic, 1 cookie back"):
            assert fact in result.stdout, result.stdout


def test_json_has_the_same_facts(pki):
    with FaultServer(pki) as server:
        result = query(server, "--json", "--count", 3, "--interval", 0)
        assert result.returncode == AUTHENTIC, result.stdout
        report = json.loads(result.stdout)
        assert report["result"] == "authentic" and report["exit_status"] == 0 and report["failure"] is None
        assert report["tls"]["alpn"] == "ntske/1" and report["tls"]["certificate"]["verified"] is True
        assert 88 <= report["tls"]["certificate"]["days_left"] <= 90
        ke = report["nts_ke"]
        assert (ke["aead"], ke["cookies"], ke["cookie_length"], ke["port"]) == (30, 8, 100, server.ntp_port)
        assert [r["type"] for r in ke["records"]] == [1, 4, 1024] + [5] * 8 + [7, 0]
        assert len(report["ntp"]["exchanges"]) == 3
        for exchange in report["ntp"]["exchanges"]:
            assert exchange["authentic"] and exchange["cookies_back"] == 1 and exchange["kernel_timestamp"]
            assert exchange["reference_id"] == "PPS" and abs(exchange["offset_ns"]) < 1e9
            assert 0 < exchange["root_delay_ns"] < 1e7 and exchange["delay_ns"] < 1e9


def test_offset_is_the_servers_clock_minus_ours(pki):
    ahead = int((time.time() + nts.UNIX_TO_NTP + 3600) * 2**32)
    with FaultServer(pki, ntp=lambda s, p: good_reply(s, p, receive=ahead, transmit=ahead)) as server:
        report = json.loads(query(server, "--json").stdout)
        assert 3590e9 < report["ntp"]["exchanges"][0]["offset_ns"] < 3600.1e9


def test_missing_cookies_are_asked_for_again(pki):
    """The second reply gives none back, so the third request asks for two."""
    gives = iter([1, 0, 2])
    with FaultServer(pki, ntp=lambda s, p: good_reply(s, p, give=next(gives))) as server:
        expect(query(server, "--aead", 15, "--count", 3, "--interval", 0), AUTHENTIC)
        assert [len(request_fields(p)[nts.PLACEHOLDER]) for p in server.packets] == [0, 0, 1]


def test_name_is_verified_as_a_name(pki):
    with FaultServer(pki) as server:
        expect(query(server, "-4", host="localhost"), AUTHENTIC)


def test_record_6_and_ntp_port_are_honoured(pki):
    extra = nts.record(nts.SERVER, b"localhost")
    wrong = daemons.free_port()
    with FaultServer(pki, respond=lambda s, a: good_response(s, a, extra, port=wrong)) as server:
        result = query(server, "-4", "--ntp-port", server.ntp_port)
        expect(result, AUTHENTIC)
        assert "server   localhost" in result.stdout and f"port     {wrong}" in result.stdout


def test_plain_needs_no_nts_ke(pki):
    with FaultServer(pki) as server:
        result = timeball("query", HOST, "--plain", "--ntp-port", server.ntp_port)
        expect(result, AUTHENTIC, "not authenticated")
        assert [len(p) for p in server.packets] == [48]


def test_stray_datagrams_are_ignored(pki):
    def strays_first(server, packet):
        other = reply_header(packet, origin=1).pack()
        return [b"", b"x", other, packet] + good_reply(server, packet)

    with FaultServer(pki, ntp=strays_first) as server:
        result = query(server)
        expect(result, AUTHENTIC)
        assert "ignored 4 datagrams" in result.stdout, result.stdout


def test_key_log_is_written_only_when_asked_for(pki, tmp_path):
    log = tmp_path / "keys"
    with FaultServer(pki) as server:
        expect(query(server), AUTHENTIC)
        assert not log.exists()
        expect(query(server, SSLKEYLOGFILE=str(log)), AUTHENTIC)
        assert "EXPORTER_SECRET " in log.read_text()
        assert stat.S_IMODE(log.stat().st_mode) == 0o600


# --- Unreachable -----------------------------------------------------------------------------------


def test_refused_port():
    port = daemons.free_port()
    expect(timeball("query", HOST, "--ke-port", port), UNREACHABLE, f"connection refused by {HOST}:{port}",
           f"nothing listens on TCP port {port}")


def test_unknown_name():
    expect(timeball("query", "a..b"), UNREACHABLE, 'the name "a..b" does not resolve', "check the spelling")


def test_no_answer_to_tcp():
    """A listener whose queue is full drops further connection requests."""
    with socket.create_server((HOST, 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        time.sleep(0.1)
        began = time.monotonic()
        expect(timeball("query", HOST, "--ke-port", full.getsockname()[1], "--timeout", 0.5), UNREACHABLE,
               "no answer from", "firewall")
        assert time.monotonic() - began < 5


# --- TLS -------------------------------------------------------------------------------------------


def test_tls_1_2_only(pki):
    with FaultServer(pki, versions=(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)) as server:
        expect(query(server), TLS, "TLS too old", "only TLSv1.2", "update the server's TLS")


def test_expired_certificate(pki):
    with FaultServer(pki, pki.expired) as server:
        result = query(server)
        expect(result, TLS, "expired", "renew it", "clock")
        assert "NOT VERIFIED" in result.stdout and "-3 days left" in result.stdout, result.stdout


def test_certificate_not_yet_valid(pki):
    with FaultServer(pki, pki.future) as server:
        expect(query(server), TLS, "not yet valid", "clock")


def test_certificate_for_another_name(pki):
    with FaultServer(pki, pki.other_name) as server:
        expect(query(server), TLS, "name mismatch", "ntp.other.test, 192.0.2.1", f"not for {HOST}",
               "subject alternative names")
        expect(query(server, "-4", host="localhost"), TLS, "name mismatch", "not for localhost")


def test_common_name_is_no_substitute_for_alternative_names(pki):
    with FaultServer(pki, pki.no_names) as server:
        expect(query(server, "-4", host="localhost"), TLS, "name mismatch", "is for nothing")


def test_self_signed_certificate(pki):
    with FaultServer(pki, pki.self_signed) as server:
        expect(query(server), TLS, "self-signed", "--ca FILE")
        expect(query(server, ca=pki.self_signed.path), AUTHENTIC)


def test_unknown_ca(pki):
    with FaultServer(pki) as server:
        expect(query(server, ca=pki.other_ca.path), TLS, "issuer (CN=Test CA) is not known to", "intermediate CAs")
        result = timeball("query", HOST, "--ke-port", server.ke_port)
        expect(result, TLS, "not known to this machine", "--ca FILE")


def test_insecure_goes_on_and_says_so(pki):
    with FaultServer(pki, pki.expired) as server:
        result = query(server, "--insecure")
        expect(result, AUTHENTIC, "only because of --insecure")
        assert "NOT VERIFIED" in result.stdout
        report = json.loads(query(server, "--insecure", "--json").stdout)
        assert report["tls"]["certificate"]["verified"] is False


def test_nothing_is_sent_to_a_server_that_does_not_verify(pki):
    with FaultServer(pki, pki.expired) as server:
        expect(query(server), TLS)
        assert server.association is None and server.packets == []


def test_no_alpn(pki):
    with FaultServer(pki, alpn="none") as server:
        result = query(server)
        expect(result, TLS, "no ALPN", "right port")
        assert "none selected" in result.stdout


def test_refused_alpn(pki):
    with FaultServer(pki, alpn="refuse") as server:
        expect(query(server), TLS, "refuses the ALPN protocol ntske/1", "right port")


def test_no_tls_at_all(pki):
    with FaultServer(pki, raw=b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        expect(query(server), TLS, "does not speak TLS on this port")


def test_handshake_that_does_not_end(pki):
    with FaultServer(pki, raw=b"") as server:
        expect(query(server, patience=1), TLS, "does not finish the TLS handshake in time")


def test_connection_closed_in_the_handshake():
    def accept_and_close(listener):
        with contextlib.suppress(OSError):
            listener.accept()[0].close()

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=accept_and_close, args=(listener,), daemon=True)
        thread.start()
        expect(timeball("query", HOST, "--ke-port", listener.getsockname()[1]), TLS,
               "closed the connection during the TLS handshake")
        thread.join(5)


def test_names_from_the_network_cannot_drive_the_terminal(pki):
    with FaultServer(pki, pki.hostile) as server:
        for options in ([], ["--json"]):
            result = query(server, *options)
            assert result.returncode == TLS
            assert "\x1b" not in result.stdout and "1b" in result.stdout.lower(), result.stdout


def test_unreadable_ca_file(pki, tmp_path):
    with FaultServer(pki) as server:
        expect(query(server, ca=str(tmp_path / "none.pem")), LOCAL, "cannot read CA certificates from")


# --- NTS-KE ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code, words", [(0, "unrecognized critical record"), (1, "bad request"),
                                         (2, "no master keys yet"), (77, "Error 77")])
def test_error_record(pki, code, words):
    octets = nts.record(nts.ERROR, nts.words(code), critical=True) + nts.eom()
    with FaultServer(pki, respond=response(octets)) as server:
        result = query(server)
        expect(result, KE, f"answers Error {code}", words)
        assert "2 Error (2)" in result.stdout


def test_no_common_aead(pki):
    with FaultServer(pki, respond=response(nts.next_protocol(0) + nts.aead_record() + nts.eom())) as server:
        expect(query(server, "--aead", 17), KE, "no common AEAD", "(17)", "15")


def test_no_common_protocol(pki):
    with FaultServer(pki, respond=response(nts.next_protocol() + nts.eom())) as server:
        expect(query(server), KE, "does not offer NTPv4")


def test_response_without_cookies_is_malformed(pki):
    with FaultServer(pki, respond=lambda s, a: good_response(s, a, cookies=0)) as server:
        expect(query(server), KE, "malformed NTS-KE response")


def test_response_that_ends_early(pki):
    with FaultServer(pki, respond=response(nts.next_protocol(0))) as server:
        expect(query(server), KE, "closed the connection before its End of Message record (6 octets came)")
    with FaultServer(pki, respond=response(b"")) as server:
        expect(query(server), KE, "closed the connection before any record")


def test_no_response(pki):
    with FaultServer(pki, respond=response(None)) as server:
        expect(query(server, patience=1), KE, "did not send any record in time")


def test_response_without_end(pki):
    with FaultServer(pki, respond=response(nts.record(0x3000, bytes(60000)) * 2)) as server:
        expect(query(server), KE, "no end within 65536 octets")


# --- NTP -------------------------------------------------------------------------------------------


def test_silent_udp(pki):
    with FaultServer(pki, ntp=lambda s, p: []) as server:
        expect(query(server, patience=1), NO_REPLY, "no reply to the NTP request of", "nor to one of 48 octets", "firewall")
        assert [len(p) > 48 for p in server.packets] == [True, False]


def test_filter_on_long_packets(pki):
    short_only = lambda s, p: good_reply(s, p) if len(p) == 48 else []
    with FaultServer(pki, ntp=short_only) as server:
        expect(query(server, "--aead", 15, patience=1), NO_REPLY, "one of 48 octets without NTS is answered",
               "filter on long packets", "record 7", "AEAD 30")


def test_silent_udp_plain(pki):
    with FaultServer(pki, ntp=lambda s, p: []) as server:
        expect(timeball("query", HOST, "--plain", "--ntp-port", server.ntp_port, "--timeout", 0.3), NO_REPLY,
               "no reply to the NTP request of 48 octets", "rate limit")


def test_closed_udp_port(pki):
    with FaultServer(pki) as server:
        expect(query(server, "--ntp-port", daemons.free_port()), NO_REPLY, "nothing listens", "--ntp-port")


def test_nak(pki):
    with FaultServer(pki, ntp=nak) as server:
        expect(query(server), REFUSED, "NTS NAK", "master keys", "--aead 15")
        result = query(server, "--aead", 15)
        expect(result, REFUSED, "NTS NAK")
        assert "--aead 15" not in result.stdout


def test_nak_does_not_count_when_an_authentic_reply_follows(pki):
    with FaultServer(pki, ntp=lambda s, p: nak(s, p) + good_reply(s, p)) as server:
        expect(query(server), AUTHENTIC)


def test_last_exchange_decides(pki):
    for order, status in (("bad, good", AUTHENTIC), ("good, bad", REFUSED)):
        turns = iter([nak, good_reply] if order == "bad, good" else [good_reply, nak])
        with FaultServer(pki, ntp=lambda s, p: next(turns)(s, p)) as server:
            expect(query(server, "--count", 2, "--interval", 0), status)


@pytest.mark.parametrize("fault", [{"corrupt": True}, {"key": bytes(16)}])
def test_forged_authenticator(pki, fault):
    with FaultServer(pki, ntp=lambda s, p: good_reply(s, p, **fault)) as server:
        expect(query(server), NOT_AUTHENTIC, "authenticator does not verify", "alters packets")


def test_reply_without_authenticator(pki):
    def strip(_server, packet):
        return [reply_header(packet).pack() + nts.field(nts.UID, request_fields(packet)[nts.UID][0])]

    with FaultServer(pki, ntp=strip) as server:
        expect(query(server), NOT_AUTHENTIC, "no NTS authenticator", "same software")


def test_reply_longer_than_request(pki):
    with FaultServer(pki, ntp=lambda s, p: good_reply(s, p, give=3)) as server:
        expect(query(server), NOT_AUTHENTIC, "longer than the request")


def test_cookies_that_never_come_back(pki):
    with FaultServer(pki, respond=lambda s, a: good_response(s, a, cookies=2),
                     ntp=lambda s, p: good_reply(s, p, give=0)) as server:
        expect(query(server, "--count", 3, "--interval", 0), NOT_AUTHENTIC, "no request can be made", "too few cookies")


@pytest.mark.parametrize("code, status, words", [
    (b"RATE", REFUSED, "--interval"), (b"DENY", REFUSED, "access rules"), (b"INIT", UNSYNCHRONISED, "INIT")])
def test_kiss_code(pki, code, status, words):
    kiss = lambda s, p: [reply_header(p, leap=3, stratum=0, reference_id=code).pack()]
    with FaultServer(pki, ntp=kiss) as server:
        expect(timeball("query", HOST, "--plain", "--ntp-port", server.ntp_port), status, words)


@pytest.mark.parametrize("header", [{"leap": 3}, {"leap": 3, "stratum": 0, "reference_id": bytes(4)},
                                    {"stratum": 16}])
@pytest.mark.parametrize("plain", [False, True])
def test_unsynchronised_server(pki, header, plain):
    with FaultServer(pki, ntp=lambda s, p: good_reply(s, p, **header)) as server:
        options = ["--plain", "--ntp-port", server.ntp_port] if plain else []
        expect(query(server, *options), UNSYNCHRONISED, "not synchronised" if "stratum" not in header
               or header["stratum"] else "", "log")


def test_failure_in_json_has_class_cause_and_cure(pki):
    with FaultServer(pki, ntp=nak) as server:
        result = query(server, "--json")
        report = json.loads(result.stdout)
        assert result.returncode == report["exit_status"] == REFUSED and report["result"] == "refused"
        assert report["failure"]["class"] == "refused" and "NTS NAK" in report["failure"]["cause"]
        assert report["ntp"]["exchanges"][0]["authentic"] is False and report["nts_ke"]["cookies"] == 8


# --- The command line ------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [
    [], ["query"], ["query", "x", "--aead", "7"], ["query", "x", "--ke-port", "0"], ["query", "x", "--count", "0"],
    ["query", "x", "-4", "-6"], ["query", "x", "--timeout", "never"], ["nonsense"], ["cert"], ["cert", "lab"]])
def test_usage(arguments):
    result = timeball(*arguments)
    assert result.returncode == USAGE and "--help" in result.stderr and result.stdout == "", result


def test_help_lists_every_exit_status():
    result = timeball("query", "--help")
    assert result.returncode == 0
    for status in range(10):
        assert f"\n  {status}  " in result.stdout


def test_version():
    result = timeball("--version")
    assert result.returncode == 0 and result.stdout.startswith("timeball 0.")


# --- timeball cert lab -----------------------------------------------------------------------------


def test_cert_lab_makes_files_that_openssl_verifies(tmp_path):
    result = timeball("cert", "lab", tmp_path / "lab", "--host", "ntp.lab.test", "--host", "192.0.2.9")
    assert result.returncode == 0, result.stderr
    for word in ("--ca", "ntstrustedcerts", "nts ca", "chain.pem", "key.pem", "ntp.lab.test 192.0.2.9"):
        assert word in result.stdout, result.stdout
    lab = tmp_path / "lab"
    assert sorted(os.listdir(lab)) == ["ca.key", "ca.pem", "chain.pem", "key.pem"]
    assert [stat.S_IMODE((lab / f).stat().st_mode) for f in ("ca.key", "key.pem")] == [0o600, 0o600]
    for options in (["-verify_hostname", "ntp.lab.test"], ["-verify_ip", "192.0.2.9"]):
        checked = subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile",
                                  lab / "ca.pem", *options, lab / "chain.pem"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_cert_lab_leaves_a_foreign_key_alone(tmp_path):
    (tmp_path / "key.pem").write_text("precious\n")
    result = timeball("cert", "lab", tmp_path)
    assert result.returncode == 1 and "--force" in result.stderr and "key.pem" in result.stderr
    assert (tmp_path / "key.pem").read_text() == "precious\n"
    assert timeball("cert", "lab", tmp_path, "--force").returncode == 0
    again = timeball("cert", "lab", tmp_path)
    assert again.returncode == 0 and again.stdout.startswith("used CA"), again


# --- The real daemon -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab_daemon(start, tmp_path_factory):
    """A daemon with a certificate of `timeball cert lab`."""
    lab = tmp_path_factory.mktemp("lab")
    assert timeball("cert", "lab", lab).returncode == 0
    with start({"nts_ke.certificate": str(lab / "chain.pem"), "nts_ke.private_key": str(lab / "key.pem")}) as d:
        d.lab_ca = str(lab / "ca.pem")
        yield d


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_daemon_is_authentic_by_every_lab_name(lab_daemon, host):
    result = timeball("query", host, "--ke-port", lab_daemon.ke_port, "--ca", lab_daemon.lab_ca)
    expect(result, AUTHENTIC, "OK: the reply is authentic")
    assert f"port     {lab_daemon.ntp_port}" in result.stdout


@pytest.mark.parametrize("aead", nts.AEADS)
def test_daemon_is_authentic_with_every_aead(lab_daemon, aead):
    result = timeball("query", "127.0.0.1", "--ke-port", lab_daemon.ke_port, "--ca", lab_daemon.lab_ca, "--aead",
                      aead, "--json", "--count", 3, "--interval", 0)
    report = json.loads(result.stdout)
    assert result.returncode == AUTHENTIC and report["nts_ke"]["aead"] == aead, report
    assert [e["cookies_back"] for e in report["ntp"]["exchanges"]] == [1, 1, 1]
    for exchange in report["ntp"]["exchanges"]:
        assert exchange["request_length"] >= exchange["reply_length"]
        assert abs(exchange["offset_ns"]) <= exchange["max_error_ns"], "our own clock, so the promise holds"


def test_daemon_without_trust_is_unsynchronised_or_says_its_stratum(start, certificates):
    with start(refclock={"driver": "system", "trust": False}) as d:
        result = timeball("query", HOST, "--ke-port", d.ke_port, "--ca", certificates.ca, "--json")
        report = json.loads(result.stdout)
        assert result.returncode in (AUTHENTIC, UNSYNCHRONISED), report
        assert report["ntp"]["exchanges"][0]["authentic"] is True


def test_daemon_answers_plain(lab_daemon):
    expect(timeball("query", "::1", "--plain", "--ntp-port", lab_daemon.ntp_port), AUTHENTIC, "not authenticated")
