"""The conformance checklist, lines 1 to 32: NTS-KE. Each test's name carries its line.

What the lines say, in short: conformance_table.py. RFC 8915, sections 3, 4 and 5.1.
"""
import contextlib
import itertools
import os
import random
import re
import socket
import struct
import subprocess
import threading
import time

import pytest
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

import daemon as daemons
import ntslib as nts
from daemon import HOST, HOST6

UNRECOGNIZED_CRITICAL, BAD_REQUEST, INTERNAL_ERROR = 0, 1, 2
COOKIE_LENGTH = {nts.GCMSIV: 68, nts.SIV256: 100, nts.SIV384: 132, nts.SIV512: 164}
MAX_REQUEST = 16384  # our stated limit: kMaxKeRequestLength


def assert_answered(result, aead=nts.SIV256):
    """A whole, correct response that yields cookies for this algorithm."""
    types = [r.type for r in result.records]
    assert types.count(nts.EOM) == 1 and types[-1] == nts.EOM, types
    assert nts.ERROR not in types, f"Error {result.error}"
    assert result.one(nts.NEXT_PROTOCOL).words() == [0]
    assert result.aead == aead
    assert len(result.cookies) == 8
    return result


def assert_works(daemon, result, exporter_aead=None, address=HOST):
    """The keys and cookies of an exchange are good for NTP."""
    association = result.association(exporter_aead)
    with daemon.ntp(address) as s:
        return s.nts(association)


def print_config(tmp_path, text):
    path = tmp_path / "t.toml"
    path.write_text(text)
    done = subprocess.run([daemons.BINARY, "--config", str(path), "--print-config"], capture_output=True,
                          text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- Transport and TLS -----------------------------------------------------------------------------


@pytest.mark.parametrize("address", [HOST, HOST6])
def test_line_01_listens_on_both_families(daemon, address):
    assert_works(daemon, assert_answered(daemon.ke(nts.ke_request(), address)), address=address)


def test_line_01_port_4460_by_default(tmp_path, certificates):
    text = f'[nts_ke]\ncertificate = "{certificates.chain}"\nprivate_key = "{certificates.key}"\n' \
           '[keys]\nfile = ""\n[[refclock]]\ndriver = "system"\n'
    printed = print_config(tmp_path, text)
    assert 'listen = ["0.0.0.0:4460", "[::]:4460"]' in printed


def test_line_02_tls_1_3_is_used(daemon):
    with nts.TlsClient(HOST, daemon.ke_port, versions=(SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)) as c:
        c.handshake()
        assert c.tls.get_protocol_version_name() == "TLSv1.3"
        assert c.tls.get_cipher_name() == "TLS_AES_128_GCM_SHA256"  # our preference, all being offered


@pytest.mark.parametrize("alpn", [(nts.ALPN,), ()])
@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_1_VERSION])
def test_line_02_older_tls_gets_alert_protocol_version(daemon, newest, alpn):
    with nts.TlsClient(HOST, daemon.ke_port, alpn=alpn, versions=(SSL.TLS1_VERSION, newest),
                       ciphers=b"ALL:@SECLEVEL=0") as c:
        with pytest.raises(nts.TlsFailure) as failure:
            c.handshake()
        assert failure.value.alerts == [nts.ALERT_PROTOCOL_VERSION]


@pytest.mark.parametrize("alpn", [(), (b"h2",), (b"ntske/2",), (b"ntske",), (b"NTSKE/1",), (b"ntske/10",),
                                  (b"http/1.1", b"h2")])
def test_line_03_wrong_or_missing_alpn_gets_alert(daemon, alpn):
    with nts.TlsClient(HOST, daemon.ke_port, alpn=alpn) as c:
        with pytest.raises(nts.TlsFailure) as failure:
            c.handshake()
            c.receive(5)  # TLS 1.3 clients may learn of it only behind their own Finished
        assert failure.value.alerts == [nts.ALERT_NO_APPLICATION_PROTOCOL]


@pytest.mark.parametrize("alpn", [(b"ntske/1",), (b"h2", b"ntske/1"), (b"ntske/1", b"h2"),
                                  (b"x" * 255, b"ntske/2", b"ntske/1")])
def test_line_03_ntske_1_is_chosen_from_a_list(daemon, alpn):
    with nts.TlsClient(HOST, daemon.ke_port, alpn=alpn) as c:
        assert c.handshake().tls.get_alpn_proto_negotiated() == b"ntske/1"


def test_line_04_no_session_ticket(daemon):
    result = assert_answered(daemon.ke(nts.ke_request()))
    assert not lib.SSL_SESSION_has_ticket(result.client.tls.get_session()._session)


def test_line_04_a_session_is_not_resumed(daemon):
    first = assert_answered(daemon.ke(nts.ke_request()))
    second = assert_answered(daemon.ke(nts.ke_request(), session=first.client.tls.get_session()))
    assert not lib.SSL_session_reused(second.client.tls._ssl)
    assert first.association().c2s != second.association().c2s


class TicketServer:
    """A TLS server of our own that grants early data, to have a session a client would use for it."""

    def __init__(self, certificates):
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate_chain_file(certificates.chain)
        self.context.use_privatekey_file(certificates.key)
        self.context.set_alpn_select_callback(lambda _c, _protocols: nts.ALPN)
        lib.SSL_CTX_set_max_early_data(self.context._context, 16384)
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        accepted, _ = self.listener.accept()
        tls = SSL.Connection(self.context, accepted)
        tls.set_accept_state()
        tls.do_handshake()
        tls.send(b"hello")
        tls.shutdown()
        accepted.close()
        self.listener.close()


def test_line_04_early_data_is_not_accepted(daemon, certificates):
    with nts.TlsClient(HOST, TicketServer(certificates).port) as c:
        c.handshake().receive(5)
        session = c.tls.get_session()
    assert lib.SSL_SESSION_get_max_early_data(session._session) == 16384  # our client would use it
    request = nts.ke_request()
    with nts.TlsClient(HOST, daemon.ke_port, session=session) as c:
        assert lib.SSL_write_early_data(c.tls._ssl, request, len(request), ffi.new("size_t *")) == 1
        c.handshake()
        assert c.receive(0.5).data == b"", "a request in early data was answered"
        c.send(request)
        stream = c.receive()
        assert_answered(nts.KeResult(stream, stream.records(), c))


def test_line_05_one_octet_per_tls_record(daemon):
    assert_works(daemon, assert_answered(daemon.ke(nts.ke_request(nts.AEADS), tls_record=1), nts.GCMSIV))


def test_line_05_one_octet_per_tcp_segment(daemon):
    assert_answered(daemon.ke(nts.ke_request(), segment=1))


def test_line_05_one_record_per_tls_record(daemon):
    with nts.TlsClient(HOST, daemon.ke_port) as c:
        c.handshake()
        for part in (nts.next_protocol(0), nts.aead_record(15), nts.eom()):
            c.send(part)
        stream = c.receive()
        assert_answered(nts.KeResult(stream, stream.records(), c))


def test_line_05_one_octet_per_tls_record_all_in_one_tcp_segment(daemon):
    with nts.TlsClient(HOST, daemon.ke_port) as c:
        c.handshake()
        for octet in nts.ke_request():
            c.tls.send(bytes([octet]))
        c.flush()
        stream = c.receive()
        assert_answered(nts.KeResult(stream, stream.records(), c))


@pytest.mark.parametrize("offset", range(1, len(nts.ke_request())))
def test_line_05_split_at_every_offset(daemon, offset):
    request = nts.ke_request()
    with nts.TlsClient(HOST, daemon.ke_port) as c:
        c.handshake()
        c.send(request[:offset])
        c.send(request[offset:])
        stream = c.receive()
        assert_answered(nts.KeResult(stream, stream.records(), c))


def padded_request(length):
    """A correct request of this length: unknown records fill it."""
    base = nts.ke_request()
    fill = length - len(base)
    filler = b"".join(nts.record(0x7FF, os.urandom(252)) for _ in range(fill // 256 - 1))
    rest = fill - len(filler)
    return nts.ke_request(extra=filler + nts.record(0x7FE, bytes(rest - 4)))


@pytest.mark.parametrize("tls_record", [None, 500])
@pytest.mark.parametrize("length", [1023, 1024, 1025, 4096, 9000, MAX_REQUEST])
def test_line_06_long_requests_are_accepted(daemon, length, tls_record):
    request = padded_request(length)
    assert len(request) == length
    assert_works(daemon, assert_answered(daemon.ke(request, tls_record=tls_record)))


@pytest.mark.parametrize("length", [MAX_REQUEST + 1, MAX_REQUEST + 2000])
def test_line_06_beyond_the_limit_error_1(daemon, length):
    assert daemon.ke_error(padded_request(length)) == BAD_REQUEST


def test_line_06_endless_request_is_cut_off(daemon):
    with nts.TlsClient(HOST, daemon.ke_port) as c:
        c.handshake()
        with contextlib.suppress(OSError):  # the kernel may take it all before the daemon has closed
            for _ in range(1000):
                c.send(nts.record(0x7FF, bytes(1000)))
        stream = c.receive()
        assert [r.type for r in stream.records()] == [nts.ERROR, nts.EOM]
        assert stream.eof
        with pytest.raises(OSError):  # closed on us: no more is swallowed
            for _ in range(1000):
                c.send(nts.record(0x7FF, bytes(1000)))
                time.sleep(0.005)


def test_line_07_one_response_to_two_requests_at_once(daemon):
    result = daemon.ke(nts.ke_request() + nts.ke_request())
    assert_answered(result)


def test_line_07_second_request_later_is_not_answered(daemon):
    with nts.TlsClient(HOST, daemon.ke_port) as c:
        c.handshake()
        c.send(nts.ke_request())
        first = nts.parse_records(_receive_message(c))
        assert first[-1].type == nts.EOM
        try:
            c.send(nts.ke_request())
            assert c.receive(3).data == b""
        except (OSError, SSL.Error):
            pass  # already closed


def _receive_message(client):
    """Octets up to and with End of Message; the connection may stay open."""
    deadline = time.monotonic() + 10
    stream = nts.Stream()
    while not stream.data.endswith(nts.eom()):
        client._drain(stream)
        if not stream.data.endswith(nts.eom()):
            assert client._feed(deadline), "ended early"
    return stream.data


@pytest.mark.parametrize("garbage", [b"\0", b"GET / HTTP/1.1\r\n\r\n", bytes(3000)])
def test_line_07_octets_after_end_of_message_are_ignored(daemon, garbage):
    assert_answered(daemon.ke(nts.ke_request() + garbage))


def test_line_08_close_notify_follows_the_response(daemon):
    stream = assert_answered(daemon.ke(nts.ke_request())).stream
    assert stream.close_notify and stream.eof
    assert stream.elapsed < 1.5, "closed by the deadline only"


def test_line_08_response_is_one_tls_record(daemon):
    """Older clients read once."""
    with nts.TlsClient(HOST, daemon.ke_port) as c:
        c.handshake()
        c.receive(0.05)
        before = len(c.wire_received)
        c.send(nts.ke_request(nts.AEADS))
        data = c.receive().data
        wire = c.wire_received[before:]
    assert wire[0] == 0x17 and struct.unpack(">H", wire[3:5])[0] >= len(data)


def test_line_08_client_that_closes_without_close_notify_is_answered(daemon):
    with nts.TlsClient(HOST, daemon.ke_port) as c:
        c.handshake()
        c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # request and FIN in one segment
        c.send(nts.ke_request())
        c.half_close()
        stream = c.receive()
        assert_answered(nts.KeResult(stream, stream.records(), c))


def test_line_08_clients_that_vanish_do_no_harm(daemon):
    for vanish in ("close", "reset"):
        for stage in range(3):
            c = nts.TlsClient(HOST, daemon.ke_port)
            if stage > 0:
                c.handshake()
            if stage > 1:
                c.send(nts.ke_request())
            getattr(c, vanish)()
    assert_answered(daemon.ke(nts.ke_request()))


@pytest.fixture(scope="module")
def hasty_daemon(start):
    with start({"nts_ke.deadline": "5s"}) as d:
        yield d


def assert_deadline(began):
    elapsed = time.monotonic() - began  # since before the connection
    assert 4.9 < elapsed < 10, f"deadline of 5 s came after {elapsed:.1f} s"


def assert_error_1_and_close(stream):
    assert [(r.type, r.critical) for r in stream.records()] == [(nts.ERROR, True), (nts.EOM, True)]
    assert stream.records()[0].words() == [BAD_REQUEST]
    assert stream.close_notify and stream.eof


def test_line_09_silent_client_gets_error_1_at_the_deadline(hasty_daemon):
    began = time.monotonic()
    with nts.TlsClient(HOST, hasty_daemon.ke_port) as c:
        c.handshake()
        stream = c.receive(20)
        assert_error_1_and_close(stream)
        assert_deadline(began)


def test_line_09_dripping_does_not_put_the_deadline_off(hasty_daemon):
    began = time.monotonic()
    with nts.TlsClient(HOST, hasty_daemon.ke_port) as c:
        c.handshake()
        stream = nts.Stream()
        while not stream.eof and time.monotonic() < began + 20:
            try:
                c.send(nts.record(0x7FF, b"x"))
            except OSError:
                pass
            more = c.receive(0.1)
            stream.data += more.data
            stream.close_notify |= more.close_notify
            stream.eof = more.eof
        assert_error_1_and_close(stream)
        assert_deadline(began)


@pytest.mark.parametrize("octets", [b"", b"\x16\x03\x01\x02\x00\x01\x00"])
def test_line_09_before_the_handshake_ends_plain_close(hasty_daemon, octets):
    began = time.monotonic()
    with socket.create_connection((HOST, hasty_daemon.ke_port), 20) as s:
        s.sendall(octets)
        try:
            assert s.recv(100) == b"", "octets before the handshake ended"
        except ConnectionResetError:
            pass
        assert_deadline(began)


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16\x03\x01\xff\xff" + bytes(200)])
def test_line_09_what_is_not_tls_is_closed(daemon, octets):
    with socket.create_connection((HOST, daemon.ke_port), 10) as s:
        s.sendall(octets)
        try:
            reply = s.recv(100)
            assert reply == b"" or reply[0] == 0x15, "anything but an alert"
        except ConnectionResetError:
            pass
    assert_answered(daemon.ke(nts.ke_request()))


@pytest.mark.parametrize("name", [None, daemons.SERVER_NAME, "other.example", "x" * 63 + ".test"])
def test_line_10_chain_verifies_whatever_name_is_asked(daemon, certificates, name):
    """One certificate: every name gets it, and never the alert unrecognized_name."""
    result = assert_answered(daemon.ke(nts.ke_request(), ca_file=certificates.ca, server_name=name))
    chain = result.client.tls.get_peer_cert_chain()
    assert [c.get_subject().CN for c in chain] == [daemons.SERVER_NAME, "Lab intermediate"]


@pytest.mark.parametrize("octets", [b"", b"\x80", nts.next_protocol(0), nts.ke_request()[:-1],
                                    nts.next_protocol(0) + nts.record(nts.AEAD, b"\0", True, length=2),
                                    nts.record(0x7FF, b"abc", length=65535),
                                    nts.next_protocol(0) + nts.aead_record(15)])
def test_line_11_ended_before_end_of_message_error_1(daemon, octets):
    """The client's close_notify ends the request; the way back is still open."""
    with nts.TlsClient(HOST, daemon.ke_port) as c:
        c.handshake()
        if octets:
            c.send(octets)
        c.send_close_notify()
        stream = c.receive()
        assert_error_1_and_close(stream)
        assert stream.elapsed < 1.4, "only at the deadline"


@pytest.mark.parametrize("octets", [b"", nts.ke_request()[:-1]])
def test_line_11_tcp_end_before_end_of_message(daemon, octets):
    with nts.TlsClient(HOST, daemon.ke_port) as c:
        c.handshake()
        c.send(octets)
        c.half_close()
        stream = c.receive()
        assert_error_1_and_close(stream)  # only the client's half is closed
        assert stream.elapsed < 1.4, "only at the deadline"
    assert_answered(daemon.ke(nts.ke_request()))


# --- Records ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 7, 255, 256, 257])
def test_line_12_records_have_no_alignment(daemon, length):
    filler = nts.record(0x7FF, os.urandom(length))
    assert_works(daemon, assert_answered(daemon.ke(filler + nts.ke_request(extra=filler))))


def test_line_12_response_consists_of_whole_records(daemon):
    result = assert_answered(daemon.ke(nts.ke_request()))
    assert b"".join(nts.record(r.type, r.body, r.critical) for r in result.records) == result.stream.data


UNKNOWN_TYPES = (8, 9, 100, 1023, 1025, 0x3FFF)


@pytest.mark.parametrize("type_", UNKNOWN_TYPES)
def test_line_13_unknown_record_is_ignored(daemon, type_):
    for body in (b"", b"x", os.urandom(300)):
        assert_answered(daemon.ke(nts.record(type_, body) + nts.ke_request()))


def test_line_13_unknown_record_of_any_length_is_ignored(daemon):
    assert_answered(daemon.ke(nts.ke_request(extra=nts.record(0x7FF, bytes(16000)))))


@pytest.mark.parametrize("type_", UNKNOWN_TYPES)
def test_line_13_unknown_critical_record_error_0(daemon, type_):
    extra = nts.record(type_, b"", critical=True)
    assert daemon.ke_error(nts.ke_request(extra=extra)) == UNRECOGNIZED_CRITICAL
    assert daemon.ke_error(extra + nts.ke_request()) == UNRECOGNIZED_CRITICAL


BASE = nts.next_protocol(0) + nts.aead_record(15)


@pytest.mark.parametrize("end", [nts.eom(critical=False), nts.eom(body=b"x"), nts.eom(body=bytes(100)),
                                 nts.eom(critical=False, body=b"xy")])
def test_line_14_faulty_end_of_message_error_1(daemon, end):
    assert daemon.ke_error(BASE + end) == BAD_REQUEST


def test_line_14_end_of_message_is_the_last_record(daemon):
    """What follows the first one is not part of the message: records 1 and 4 behind it are missing."""
    assert daemon.ke_error(nts.eom() + BASE + nts.eom()) == BAD_REQUEST
    assert daemon.ke_error(nts.next_protocol(0) + nts.eom() + nts.aead_record(15)) == BAD_REQUEST


def test_line_14_response_ends_with_one_critical_empty_end_of_message(daemon):
    end = daemon.ke(nts.ke_request()).one(nts.EOM)
    assert end.critical and end.body == b""


@pytest.mark.parametrize("records", [
    b"", nts.next_protocol(0) * 2, nts.next_protocol(0) + nts.next_protocol(0x8001),
    nts.next_protocol(), nts.record(nts.NEXT_PROTOCOL, b"\0", True),
    nts.record(nts.NEXT_PROTOCOL, bytes(3), True), nts.next_protocol(0, critical=False)])
def test_line_15_faulty_next_protocol_error_1(daemon, records):
    assert daemon.ke_error(records + nts.aead_record(15) + nts.eom()) == BAD_REQUEST


def test_line_15_response_next_protocol_is_critical(daemon):
    assert daemon.ke(nts.ke_request()).one(nts.NEXT_PROTOCOL).critical


@pytest.mark.parametrize("protocols", [(0x8001, 0), (0, 0x8001), (1, 2, 3, 0), (0xFFFF, 0, 0x8001), (0, 0)])
def test_line_16_unknown_protocols_are_skipped(daemon, protocols):
    assert_works(daemon, assert_answered(daemon.ke(nts.ke_request(protocols=protocols))))


@pytest.mark.parametrize("request_", [nts.ke_request(protocols=(0x8001,)), nts.ke_request(protocols=(1, 2)),
                                      nts.next_protocol(0x8001) + nts.eom()])
def test_line_17_no_common_protocol_gives_an_empty_list(daemon, request_):
    result = daemon.ke(request_)
    assert [(r.type, r.critical, r.body) for r in result.records] == [
        (nts.NEXT_PROTOCOL, True, b""), (nts.EOM, True, b"")]


@pytest.mark.parametrize("critical", [False, True])
@pytest.mark.parametrize("type_,body", [(nts.ERROR, bytes(2)), (nts.WARNING, bytes(2)),
                                        (nts.NEW_COOKIE, bytes(100)), (nts.NEW_COOKIE, b"")])
def test_line_18_records_only_servers_send_error_1(daemon, type_, body, critical):
    assert daemon.ke_error(nts.ke_request(extra=nts.record(type_, body, critical))) == BAD_REQUEST


@pytest.mark.parametrize("records", [
    b"", nts.aead_record(15) * 2, nts.aead_record(15) + nts.aead_record(17), nts.aead_record(),
    nts.record(nts.AEAD, b"\0", True), nts.record(nts.AEAD, b"\0\x0f\0", True)])
def test_line_19_faulty_aead_record_error_1(daemon, records):
    assert daemon.ke_error(nts.next_protocol(0) + records + nts.eom()) == BAD_REQUEST


@pytest.mark.parametrize("critical", [False, True])
def test_line_19_aead_record_may_be_critical_or_not(daemon, critical):
    request = nts.next_protocol(0) + nts.aead_record(15, critical=critical) + nts.eom()
    assert_answered(daemon.ke(request))


@pytest.mark.parametrize("aead", nts.AEADS)
def test_line_20_each_algorithm_alone(daemon, aead):
    assert_works(daemon, assert_answered(daemon.ke(nts.ke_request([aead])), aead))


def test_line_20_only_from_those_offered_and_never_empty_with_15(daemon):
    for offered in ((15, 1), (1, 2, 3, 15), (17, 16), (65535, 15, 29), (16, 1)):
        assert daemon.ke(nts.ke_request(offered)).aead in offered
    for _ in range(10):
        offered = [random.randrange(1, 65536) for _ in range(20)]
        offered.insert(random.randrange(21), 15)
        assert daemon.ke(nts.ke_request(offered, compliant=False)).aead in (15, 16, 17)


def test_line_20_a_configuration_without_15_is_refused(start):
    """Mandatory (RFC 8915, section 5.1): otherwise an offer of 15 could be answered by an empty record."""
    checked = start({"nts_ke.aeads": [17]}).check()
    assert checked.returncode == 2
    assert re.search(r"aeads.*15", checked.stderr), checked


@pytest.mark.parametrize("offered", [(1,), (2, 3), (14, 18, 29, 31), (0x000F << 8,)])
def test_line_21_no_common_algorithm_gives_an_empty_list(daemon, offered):
    result = daemon.ke(nts.ke_request(offered))
    assert [(r.type, r.body) for r in result.records] == [
        (nts.NEXT_PROTOCOL, bytes(2)), (nts.AEAD, b""), (nts.EOM, b"")]


def preferred(order, offered, compliant):
    return next(a for a in order if a in offered and (a != nts.GCMSIV or compliant))


@pytest.mark.parametrize("compliant", [False, True])
def test_line_22_our_order_decides(daemon, compliant):
    for offered in nts.subsets(nts.AEADS):
        if offered == (nts.GCMSIV,) and not compliant:
            continue
        request = nts.ke_request(random.sample(offered, len(offered)), compliant)
        assert daemon.ke(request).aead == preferred((30, 15, 17, 16), offered, compliant)


def test_line_22_order_is_configurable(custom_daemon):
    for offered in nts.subsets(nts.AEADS):
        expected = preferred((17, 16, 15, 30), offered, True)
        assert custom_daemon.ke(nts.ke_request(offered, True)).aead == expected


def test_line_22_duplicate_algorithms_are_harmless(daemon):
    for offered in ((15, 15), (17, 15, 17, 15), (16, 16, 16)):
        expected = preferred((30, 15, 17, 16), offered, True)
        assert_works(daemon, assert_answered(daemon.ke(nts.ke_request(offered)), expected))


@pytest.mark.parametrize("aead", nts.AEADS)
def test_line_23_eight_distinct_cookies_of_one_length(daemon, aead):
    result = daemon.ke(nts.ke_request([aead]))
    assert len(result.cookies) == len(set(result.cookies)) == 8
    assert {len(c) for c in result.cookies} == {COOKIE_LENGTH[aead]}
    assert not any(r.critical for r in result.of(nts.NEW_COOKIE))
    association = result.association()
    with daemon.ntp() as s:
        for cookie in result.cookies:
            s.nts(association, cookie=cookie)


def server_record(name, critical=False):
    return nts.record(nts.SERVER, name, critical)


@pytest.mark.parametrize("critical", [False, True])
@pytest.mark.parametrize("name", [b"192.0.2.1", b"2001:db8::1", b"time.example.com", b"xn--bcher-kva.example",
                                  b"127.0.0.1", b"time.test"])
def test_line_24_server_asked_for_is_echoed_or_ignored(daemon, name, critical):
    result = assert_answered(daemon.ke(nts.ke_request(extra=server_record(name, critical))))
    assert [r.body for r in result.of(nts.SERVER)] in ([], [name])


def test_line_24_our_own_server_name_is_echoed(custom_daemon):
    """Whoever asks for the server that our cookies are for gets it."""
    result = custom_daemon.ke(nts.ke_request([17], extra=server_record(b"ntp.time.test")))
    assert result.one(nts.SERVER).body == b"ntp.time.test"


def test_line_24_of_several_servers_the_one_asked_for_is_echoed(start):
    with start({"nts_ke.server": ["common.test 1000", "rare.test", "127.0.0.9"]}) as d:
        for name in (b"rare.test", b"127.0.0.9"):
            assert d.ke(nts.ke_request(extra=server_record(name))).one(nts.SERVER).body == name
        other = d.ke(nts.ke_request(extra=server_record(b"other.test"))).one(nts.SERVER).body
        assert other in (b"common.test", b"rare.test", b"127.0.0.9")


def test_line_24_two_server_records_error_1(daemon):
    extra = server_record(b"time.example.com") * 2
    assert daemon.ke_error(nts.ke_request(extra=extra)) == BAD_REQUEST


@pytest.mark.parametrize("name", [b"", b"a..b", b"fe80::1%eth0", b"b\xc3\xbccher.example", b"a b", b"a\0b",
                                  b"x" * 300, b"-a.example", b"1.2.3.4.5", b"[::1]", b"time.example.com:123"])
def test_line_24_malformed_server_is_refused_or_ignored(daemon, name):
    result = daemon.ke(nts.ke_request(extra=server_record(name)))
    if result.error is None:
        assert_answered(result)
        assert result.of(nts.SERVER) == []
    else:
        assert result.error == BAD_REQUEST


def test_line_25_no_server_record_unless_configured(daemon):
    assert daemon.ke(nts.ke_request()).of(nts.SERVER) == []


@pytest.mark.parametrize("address", [HOST, HOST6])
def test_line_25_configured_name_is_sent_once(custom_daemon, address):
    for extra in (b"", server_record(b"other.example")):
        result = custom_daemon.ke(nts.ke_request([17], extra=extra), address)
        assert result.one(nts.SERVER).body == b"ntp.time.test"


@pytest.mark.parametrize("literal,mine,other", [("127.0.0.1", HOST, HOST6), ("::1", HOST6, HOST)])
def test_line_25_address_goes_to_its_own_family_only(start, literal, mine, other):
    with start({"nts_ke.server": literal}) as d:
        assert d.ke(nts.ke_request(), mine).one(nts.SERVER).body == literal.encode()
        assert d.ke(nts.ke_request(), other).of(nts.SERVER) == []


@pytest.mark.parametrize("address,fitting", [(HOST, {b"a.test", b"127.0.0.9"}), (HOST6, {b"a.test", b"::9"})])
def test_line_25_of_several_one_at_random_that_fits_the_family(start, address, fitting):
    with start({"nts_ke.server": ["a.test", "127.0.0.9 2", "::9 2"]}) as d:
        named = [d.ke(nts.ke_request(), address).one(nts.SERVER).body for _ in range(60)]
        assert set(named) == fitting  # each is missed once in 10^10 runs
        assert named.count(b"a.test") < 45  # 20 are expected: more than six standard deviations


def test_line_26_port_is_sent_when_ntp_is_not_on_123(daemon):
    found = daemon.ke(nts.ke_request()).one(nts.PORT)
    assert found.body == struct.pack(">H", daemon.ntp_port)


def test_line_26_configured_port_is_sent(custom_daemon):
    assert custom_daemon.ke(nts.ke_request([17])).one(nts.PORT).body == struct.pack(">H", 10123)


def test_line_26_no_port_record_when_ntp_is_on_123(start):
    address = "127.0.0.77"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.bind((address, 123))
        except OSError as error:
            pytest.skip(f"cannot bind UDP port 123: {error}")
    d = start({"ntp.listen": [f"{address}:123"]})
    d.ntp_port, d.ntp_address = 123, address
    with d:
        assert d.ke(nts.ke_request()).of(nts.PORT) == []


def test_line_27_order_of_records_is_free(daemon):
    parts = (nts.next_protocol(0), nts.aead_record(15, 30), nts.record(nts.COMPLIANT_GCM_SIV),
             server_record(b"time.example.com"), nts.record(0x7FF, b"x"))
    for order in itertools.permutations(parts):
        result = daemon.ke(b"".join(order) + nts.eom())
        assert_answered(result, nts.GCMSIV)


def test_line_28_error_response_is_error_and_end_of_message_alone(daemon):
    for request, code in ((nts.eom(), BAD_REQUEST),
                          (nts.ke_request(extra=nts.record(99, b"", True)), UNRECOGNIZED_CRITICAL)):
        result = daemon.ke(request)
        assert result.stream.data == struct.pack(">HHHHH", 0x8002, 2, code, 0x8000, 0)


@pytest.mark.parametrize("aead", nts.AEADS)
def test_line_30_exported_keys_are_those_in_the_cookies(daemon, aead):
    result = daemon.ke(nts.ke_request([aead]))
    association = result.association()
    assert len(association.c2s) == len(association.s2c) == nts.KEY_LENGTH[aead]
    assert association.c2s != association.s2c
    keys = daemons.KeyFile.read(daemon.key_file)
    for cookie in result.cookies:
        key = keys.key(daemons.cookie_key_id(cookie))
        assert daemons.open_cookie(key, cookie) == (association.c2s, association.s2c)


@pytest.mark.parametrize("aead", nts.AEADS)
def test_line_30_another_context_gives_keys_that_fail(daemon, aead):
    result = daemon.ke(nts.ke_request([aead]))
    wrong = result.association(exporter_aead=next(a for a in nts.AEADS if a != aead))
    right = result.association()
    with daemon.ntp() as s:
        nak = nts.nts_request(wrong)
        nts.check_nak(s.exchange(nak.packet), nak)
        s.nts(right)


@pytest.mark.parametrize("body", [b"x", bytes(2), bytes(100)])
def test_line_31_record_1024_with_a_body_error_1(daemon, body):
    extra = nts.record(nts.COMPLIANT_GCM_SIV, body)
    assert daemon.ke_error(nts.ke_request([30, 15], False, extra=extra)) == BAD_REQUEST


def test_line_31_record_1024_is_confirmed_and_exports_with_context_30(daemon):
    result = assert_answered(daemon.ke(nts.ke_request([30])), nts.GCMSIV)
    confirmed = result.one(nts.COMPLIANT_GCM_SIV)
    assert confirmed.body == b"" and not confirmed.critical
    assert_works(daemon, result, exporter_aead=30)


def test_line_31_record_1024_may_be_critical(daemon):
    extra = nts.record(nts.COMPLIANT_GCM_SIV, critical=True)
    assert_answered(daemon.ke(nts.ke_request([30], False, extra=extra)), nts.GCMSIV)


def test_line_31_without_record_1024_aead_30_is_not_chosen(daemon):
    result = assert_answered(daemon.ke(nts.ke_request([30, 15], compliant=False)), nts.SIV256)
    assert result.of(nts.COMPLIANT_GCM_SIV) == []
    assert daemon.ke(nts.ke_request([30], compliant=False)).one(nts.AEAD).body == b""


def test_line_31_record_1024_is_not_confirmed_for_other_algorithms(daemon):
    assert daemon.ke(nts.ke_request([15], compliant=True)).of(nts.COMPLIANT_GCM_SIV) == []


def test_line_31_where_configured_context_15_serves_old_chrony(custom_daemon):
    result = custom_daemon.ke(nts.ke_request([30], compliant=False))
    assert result.aead == nts.GCMSIV and result.of(nts.COMPLIANT_GCM_SIV) == []
    assert_works(custom_daemon, result, exporter_aead=15)
    compliant = custom_daemon.ke(nts.ke_request([30], compliant=True))
    assert_works(custom_daemon, compliant, exporter_aead=30)


@pytest.mark.parametrize("type_", [16384, 16385, 20000, 0x6000, 32767])
def test_line_32_private_records_are_ignored_unless_critical(daemon, type_):
    assert_answered(daemon.ke(nts.ke_request(extra=nts.record(type_, b"private"))))
    extra = nts.record(type_, b"private", critical=True)
    assert daemon.ke_error(nts.ke_request(extra=extra)) == UNRECOGNIZED_CRITICAL
