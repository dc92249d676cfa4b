"""Faults that other servers have had, each tried on ours: PROTOCOL.md, section 3, and limits of our own."""
import contextlib
import os
import random
import socket
import struct
import time

import pytest

import daemon as daemons
import ntslib as nts
from daemon import HOST, HOST6


def open_connections(d, count, address=HOST, source=None):
    """TCP connections that say nothing."""
    made = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            made.append(socket.create_connection((address, d.ke_port), 5, source))
    return made


def close_all(connections):
    for c in connections:
        c.close()


def still_open(connections):
    """Those the server has not closed."""
    for c in connections:
        c.setblocking(False)
    alive = []
    for c in connections:
        try:
            if c.recv(1) != b"":
                alive.append(c)
        except BlockingIOError:
            alive.append(c)
        except OSError:
            pass
    return alive


# --- NTS-KE listeners (CVE-2024-38528) -------------------------------------------------------------


def test_out_of_descriptors_ntp_goes_on_and_ke_resumes(start):
    with start({"nts_ke.deadline": "60s"}, descriptors=64) as d, d.ntp() as s:
        a = d.associate()
        idle = open_connections(d, 150)
        assert len(idle) > 64
        daemons.wait_for(lambda: d.metric("timeball_nts_ke_connections_total", outcome="refused_total") > 0,
                         what="NTS-KE to be full")
        with pytest.raises((OSError, nts.TlsFailure)):  # at once: the silent give way after 0.6 s
            d.ke(nts.ke_request(), timeout=0.7)
        for _ in range(20):
            s.nts(a)
        close_all(idle)
        daemons.wait_for(lambda: can_associate(d), what="NTS-KE to resume")
        s.nts(a)
        assert len(d.log().splitlines()) < 60, d.log()


def can_associate(d, **options):
    try:
        return d.associate(timeout=2.0, **options)
    except (OSError, nts.TlsFailure, AssertionError):
        return None


def test_connections_in_all_are_limited(start):
    with start({"nts_ke.max_connections": 10, "nts_ke.deadline": "60s"}) as d:
        idle = open_connections(d, 40)
        daemons.wait_for(lambda: len(still_open(idle)) <= 10, what="refusals")
        assert len(still_open(idle)) == 10
        close_all(idle)
        daemons.wait_for(lambda: can_associate(d), what="NTS-KE to resume")


def test_connections_per_address_are_limited(start):
    with start({"nts_ke.max_connections_per_address": 5, "nts_ke.deadline": "60s"}) as d:
        idle = open_connections(d, 20, source=("127.0.0.51", 0))
        daemons.wait_for(lambda: len(still_open(idle)) <= 5, what="refusals")
        assert len(still_open(idle)) == 5
        d.associate()  # another address
        d.associate(address=HOST6)
        close_all(idle)
        daemons.wait_for(lambda: can_associate(d, source=("127.0.0.51", 0)), what="the address to be let in again")


def test_many_clients_at_once(daemon):
    """A boot storm: forty clients in the middle of their handshakes."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(nts.TlsClient(HOST, daemon.ke_port)) for _ in range(40)]
        for c in clients:
            c.handshake()
        for c in clients:
            c.send(nts.ke_request())
        for c in clients:
            assert nts.parse_records(c.receive().data)[-1].type == nts.EOM


def test_flood_of_half_open_handshakes_does_not_stop_ntp(daemon, association, ntp):
    idle = open_connections(daemon, 200)
    try:
        for c in idle:
            with contextlib.suppress(OSError):
                c.sendall(os.urandom(50))
        for _ in range(20):
            ntp.nts(association())
    finally:
        close_all(idle)
    daemon.associate()


def scheduling(threads):
    """Niceness and policy of each."""
    return [(os.getpriority(os.PRIO_PROCESS, thread), os.sched_getscheduler(thread)) for thread in threads]


def test_nts_ke_gives_way_to_ntp(start):
    with start({"ntp.shards": 2, "nts_ke.threads": 2, "nts_ke.nice": 7}) as d:
        inherited = os.getpriority(os.PRIO_PROCESS, d.process.pid)
        assert scheduling(d.threads("nts-ke", 2)) == [(max(7, inherited), os.SCHED_OTHER)] * 2
        assert scheduling(d.threads("shard", 2)) == [(inherited, os.SCHED_OTHER)] * 2


def test_realtime_priority_is_had_or_missed_aloud(start):
    with start({"ntp.shards": 1, "ntp.realtime_priority": 1}) as d, d.ntp() as s:
        s.plain()
        (_, policy), = scheduling(d.threads("shard", 1))
        assert (policy == os.SCHED_FIFO) != ("ntp.realtime_priority = 1: not permitted" in d.log())


# --- NTS-KE parsing --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_mutated_ke_requests_end_in_order(daemon, seed):
    """Whatever the records: a response of whole records, closed, and the daemon lives on."""
    rng = random.Random(seed)
    octets = bytearray(nts.ke_request(rng.sample([15, 16, 17, 30, 1], 3),
                                      extra=nts.record(rng.randrange(2000), rng.randbytes(rng.randrange(30)))))
    for _ in range(rng.randint(1, 4)):
        octets[rng.randrange(len(octets))] = rng.choice((0, 1, 2, 4, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    with nts.TlsClient(HOST, daemon.ke_port) as c:
        c.handshake()
        with contextlib.suppress(OSError):  # answered, and closed a second later
            c.send(bytes(octets), tls_record=rng.choice((None, None, 1, 7)))
            c.send_close_notify()
        stream = c.receive()
    assert stream.eof
    assert nts.parse_records(stream.data)[-1].type == nts.EOM


@pytest.mark.parametrize("length", [1, 3, 4, 5, 255, 1023, 16383, 32768, 65535])
def test_record_length_beyond_the_octets_sent(daemon, length):
    for type_ in (nts.NEXT_PROTOCOL, nts.AEAD, nts.EOM, nts.SERVER, 0x7FF):
        with nts.TlsClient(HOST, daemon.ke_port) as c:
            c.handshake()
            c.send(nts.record(type_, b"", True, length=length))
            c.send_close_notify()
            records = c.receive().records()
            assert [r.type for r in records] == [nts.ERROR, nts.EOM]


# --- NTS in NTP ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ke_off(start):
    with start({"nts_ke.enabled": False}) as d:
        yield d


def every_cookie_length(s):
    """Cookies of every length there can be, whole and with a field length that lies."""
    association = nts.Association(nts.SIV256, os.urandom(32), os.urandom(32))
    packets = []
    for length in range(201):
        body = os.urandom(length)
        for said in (None, 4 + length):
            cookie = nts.field(nts.COOKIE, body, said)
            packets.append(nts.nts_request(association, cookie_fields=cookie).packet)
            packets.append(nts.plain_request() + cookie)
    for i in range(0, len(packets), 50):
        for reply in s.replies_to_all(packets[i : i + 50]):
            assert [f.type for f in nts.parse_fields(reply[48:])] in ([], [nts.UID]), "served"
    s.plain()


def test_cookies_of_every_length(daemon, ntp):
    every_cookie_length(ntp)


def test_cookies_of_every_length_without_nts_ke(ke_off):
    with ke_off.ntp() as s:
        every_cookie_length(s)


def test_nts_requests_without_nts_ke(ke_off, association):
    with ke_off.ntp() as s:
        request = nts.nts_request(association())
        for reply in s.replies(request.packet):
            nts.check_nak(reply, request)
        s.plain()
        with pytest.raises(OSError):
            socket.create_connection((HOST, ke_off.ke_port), 2)


def test_many_placeholders_do_not_multiply_the_work(association, ntp):
    """At most eight cookies, whatever is asked (CVE-2026-26076): in the clear, encrypted, both."""
    a = association()
    placeholder = nts.field(nts.PLACEHOLDER, bytes(len(a.cookies[0])))
    small = nts.field(nts.PLACEHOLDER, bytes(12))
    for options in ({"placeholders": 9}, {"plaintext": placeholder * 9},
                    {"placeholders": 5, "plaintext": placeholder * 5}, {"placeholder_fields": small * 70}):
        request = nts.nts_request(a, cookie=a.cookies[0], **options)
        for reply in ntp.replies(request.packet):
            assert 1 <= len(nts.check_reply(reply, request).cookies) <= 8
    del a.cookies[8:]


def test_authenticator_lengths_over_their_whole_range(association, ntp):
    """0..65535 in both length fields, against a body of 36 octets; ASan watches."""
    a = association()
    base = nts.nts_request(a, cookie=a.cookies[0])
    at = nts.parse_fields(base.packet[48:], 48)[-1].offset + 4
    values = list(range(0, 80)) + [random.randrange(65536) for _ in range(100)] + list(range(65500, 65536))
    pairs = [(n, 16) for n in values] + [(16, n) for n in values] + [(n, n) for n in values] + \
            [(n, 65536 - n & 0xFFFF) for n in values] + [(n, (32 - n) & 0xFFFF) for n in values]
    packets = [base.packet[:at] + struct.pack(">HH", *pair) + base.packet[at + 4 :]
               for pair in pairs if pair != (16, 16)]
    for i in range(0, len(packets), 64):
        for reply in ntp.replies_to_all(packets[i : i + 64]):
            nts.check_nak(reply, base)


def test_random_mutations_of_nts_requests(daemon, association, ntp):
    """Every reply is authentic, a NAK or a bare header; none is longer than its request."""
    rng = random.Random(2026)
    for aead in nts.AEADS:
        a = association(aead)
        for _ in range(15):
            packets = {}
            for _ in range(20):
                request = nts.nts_request(a, cookie=a.cookies[0], placeholders=rng.randrange(3),
                                          plaintext=nts.field(nts.UNKNOWN_FIELD, bytes(16)))
                octets = bytearray(request.packet[: rng.choice((None, None, rng.randrange(48, 200)))])
                for _ in range(rng.randint(0, 3)):
                    octets[rng.randrange(48, len(octets)) if len(octets) > 48 else 0] = rng.randrange(256)
                packets[request.transmit] = bytes(octets)
            for reply in ntp.replies_to_all(list(packets.values())):
                assert len(reply) <= len(packets[nts.Header.parse(reply).origin])


def test_service_across_every_rotation_restart_and_identifier_wrap(start):
    """One client through it all, never a NAK: keys of our choosing, identifiers that wrap to 0."""
    d = start({"keys.rotation": "1s", "keys.keep": 7})
    daemons.KeyFile.make(0xFFFFFFFE, old=2).write(d.key_file)
    identifiers = set()
    with d:
        associations = [d.associate(aead) for aead in nts.AEADS]
    for _ in range(3):
        with d, d.ntp() as s:
            before, deadline = set(identifiers), time.monotonic() + 15
            while len(identifiers - before) < 2 and time.monotonic() < deadline:
                for a in associations:
                    identifiers.update(daemons.cookie_key_id(c) for c in s.nts(a).cookies)
                time.sleep(0.05)
    assert {0xFFFFFFFF, 0, 1} <= identifiers, identifiers


def test_cookie_length_is_one_for_ever(start):
    """Across generations and restarts, from NTS-KE and from NTP: replies never outgrow requests."""
    lengths = {aead: set() for aead in nts.AEADS}
    d = start({"keys.rotation": "1s"})
    for _ in range(2):
        with d, d.ntp() as s:
            for aead in nts.AEADS:
                a = d.associate(aead)
                lengths[aead].update(map(len, a.cookies))
                lengths[aead].update(map(len, s.nts(a, placeholders=3).cookies))
            time.sleep(1.1)
    assert lengths == {30: {68}, 15: {100}, 16: {132}, 17: {164}}


def test_library_failure_never_spoils_a_reply(start, shim):
    """One AES call in so many fails: each reply is right, a NAK, or absent and counted, and service comes back."""
    with start({"ntp.shards": 1, **daemons.ALL_BY_OPENSSL}, environment=shim.environment()) as d, d.ntp() as s:
        associations = [d.associate(aead) for aead in nts.AEADS]
        absent = 0
        for one_in, at_once in ((2, 25), (7, 25), (13, 1), (31, 1), (53, 1)):
            shim.set(fail_encrypt_one_in=one_in)
            for a in associations:
                for _ in range(1 if at_once > 1 else 25):
                    requests = [nts.nts_request(a, cookie=a.cookies[0]) for _ in range(at_once)]
                    absent += count_absent_and_check_others(s, requests)
                del a.cookies[8:]
        dropped = d.verdict("dropped_internal")
        assert dropped > 0
        assert absent <= dropped + d.verdict("dropped_refusal_rate")
        shim.set()
        for a in associations:
            s.nts(a, cookie=a.cookies[0])


def count_absent_and_check_others(s, requests):
    by_transmit = {r.transmit: r for r in requests}
    # Without random octets the whole batch is dropped, with a plain request that happens to be in it.
    for reply in s.replies_to_all([r.packet for r in requests], sentinels=20):
        request = by_transmit.pop(nts.Header.parse(reply).origin)
        if nts.is_nak(reply, request.transmit):
            nts.check_nak(reply, request)
        else:
            nts.check_reply(reply, request)
    return len(by_transmit)


# --- Loops, logs, access ---------------------------------------------------------------------------


def test_two_servers_do_not_answer_each_other(daemon, kiss_daemon, association):
    """Every kind of reply we make, sent to a server as if it were a request: silence."""
    replies = []
    with daemon.ntp() as s:
        replies.append(s.exchange(nts.plain_request()))
        replies.append(s.exchange(nts.plain_request() + nts.field(nts.UID, bytes(32))))
        replies.append(s.exchange(nts.nts_request(association()).packet))
        nak = s.exchange(nts.nts_request(association(), cookie=bytes(100)).packet)
        assert nts.Header.parse(nak).reference_id == b"NTSN"
        replies.append(nak)
    with kiss_daemon.ntp(source="127.0.0.61") as s:
        for _ in range(6):
            s.send(nts.plain_request())
        kisses = [r for r in iter(lambda: s.receive(2), None) if nts.Header.parse(r).reference_id == b"RATE"]
        assert kisses
        replies += kisses[:1]
    for version in range(1, 5):
        replies += [bytes([r[0] & 0xC7 | version << 3]) + r[1:] for r in replies[:5]]
    with daemon.ntp() as s:
        assert s.replies_to_all(replies) == []


def test_packets_cannot_flood_the_log(start):
    with start() as d, d.ntp() as s:
        before = len(d.log().splitlines())
        a = d.associate()
        good = nts.nts_request(a, cookie=a.cookies[0])
        bad = [os.urandom(60), b"", b"x", nts.plain_request(mode=6), nts.plain_request()[:47],
               nts.nts_request(a, cookie=bytes(100)).packet, nts.flip(good.packet, 1000), good.packet[:-8],
               nts.nts_request(a, uid_fields=b"", cookie=a.cookies[0]).packet, bytes(2000)]
        for i in range(1000):
            for packet in bad:
                s.send(packet)
            if i % 20 == 0:
                s.replies(nts.plain_request())
        for _ in range(100):
            with socket.create_connection((HOST, d.ke_port), 5) as c:
                c.sendall(os.urandom(30))
        for _ in range(30):
            d.ke(nts.eom())
        with d.ntp() as another:
            another.nts(a)
        lines = len(d.log().splitlines()) - before
        assert lines < 50, f"{lines} lines:\n{d.log()[:3000]}"


@pytest.fixture(scope="module")
def picky_daemon(start):
    with start({"access.allow": ["127.0.0.0/25", "::1/128"], "access.deny": ["127.0.0.64/26"]}) as d:
        yield d


@pytest.mark.parametrize("source,allowed", [
    ("127.0.0.1", True), ("127.0.0.63", True), ("127.0.0.64", False), ("127.0.0.127", False),
    ("127.0.0.128", False), ("127.1.0.1", False)])
def test_access_policy(picky_daemon, source, allowed):
    """Deny wins over allow; a list of allowed ones shuts out the rest. NTS, NAKs included, is no way around."""
    a = picky_daemon.associate()
    with picky_daemon.ntp(source=source) as s:
        if allowed:
            s.plain()
            s.nts(a)
        else:
            for packet in (nts.plain_request(), nts.nts_request(a, cookie=a.cookies[0]).packet,
                           nts.nts_request(a, cookie=bytes(100)).packet, nts.plain_request(version=3)):
                s.send(packet)
            assert s.receive(0.2) is None


def test_access_policy_is_counted(picky_daemon):
    before = picky_daemon.verdict("dropped_denied")
    with picky_daemon.ntp(source="127.0.0.70") as s:
        s.send(nts.plain_request())
        assert s.receive(0.1) is None
    picky_daemon.expect_verdict("dropped_denied", before + 1)


def test_rate_limit_drop_is_silent(start):
    settings = {"rate_limit.enabled": True, "rate_limit.action": "drop", "rate_limit.burst": 5,
                "rate_limit.interval": "1h", "rate_limit.let_through": 0, "ntp.shards": 1}
    with start(settings) as d:
        with d.ntp(source="127.0.0.71") as s:
            for _ in range(30):
                s.send(nts.plain_request())
            assert sum(1 for _ in iter(lambda: s.receive(2), None)) == 5
        with d.ntp(source="127.0.0.72") as s:
            s.plain()  # another address has a limit of its own
        d.expect_verdict("dropped_rate", 25)


def test_rate_limit_refills(start):
    settings = {"rate_limit.enabled": True, "rate_limit.burst": 2, "rate_limit.interval": "500ms",
                "rate_limit.let_through": 0, "ntp.shards": 1}
    with start(settings) as d, d.ntp(source="127.0.0.73") as s:
        served, began = 0, time.monotonic()
        while served < 5 and time.monotonic() < began + 15:
            s.send(nts.plain_request())
            served += s.receive(0.05) is not None
        elapsed = time.monotonic() - began
        assert 5 <= served <= 3 + 2 * elapsed, elapsed  # 2 at once, then one each 500 ms


def test_every_packet_has_its_verdict(daemon, ntp, association):
    """The metric follows what a client sees."""
    a = association()
    cases = [("answered_plain", nts.plain_request()), ("answered_nts", nts.nts_request(a, cookie=a.cookies[0]).packet),
             ("nak", nts.nts_request(a, cookie=bytes(100)).packet), ("dropped_short", bytes(47)),
             ("dropped_version", nts.plain_request(version=7)), ("dropped_mode", nts.plain_request(mode=4)),
             ("dropped_malformed", nts.nts_request(a, cookie=a.cookies[0], uid_fields=b"").packet)]
    for verdict, packet in cases:
        before = daemon.verdict(verdict)
        for _ in range(3):
            ntp.replies(packet)
        extra = 3 if verdict == "answered_plain" else 0  # the plain request that ends the silence
        daemon.expect_verdict(verdict, before + 3 + extra)


def test_sigterm_ends_it_in_order_under_load(start):
    """Exit status 0 with clients in every state (Daemon.stop checks)."""
    with start() as d:
        a = d.associate()
        with contextlib.ExitStack() as stack:
            stack.callback(close_all, open_connections(d, 20))
            for _ in range(5):
                stack.enter_context(nts.TlsClient(HOST, d.ke_port)).handshake()
            s = stack.enter_context(d.ntp())
            for _ in range(50):
                s.send(nts.nts_request(a, cookie=a.cookies[0]).packet)
            d.stop()


def test_a_generator_that_fails_does_not_end_the_server(start, shim):
    """Each request over the limit draws lots for being let through, until the store of random octets is empty."""
    settings = {"ntp.shards": 1, "rate_limit.enabled": True, "rate_limit.burst": 1, "rate_limit.interval": "1h"}
    with start(settings, environment=shim.environment()) as d, d.ntp() as s:
        shim.set(fail_encrypt_one_in=1)
        def burst():
            for _ in range(100):
                s.send(nts.plain_request())
            s.receive(0.05)
            return d.verdict("dropped_internal") > 0
        daemons.wait_for(burst, what="a request that the generator's failure drops")
        shim.set()
        daemons.wait_for(lambda: s.send(nts.plain_request()) or s.receive(0.1), what="an answer")
