"""The conformance checklist, lines 34 to 60: NTP and its NTS extension fields.

What the lines say, in short: conformance_table.py. RFC 8915, sections 5 and 6; RFC 5905; RFC 7822.
"""
import os
import random
import struct
import time

import pytest

import daemon as daemons
import ntslib as nts
from daemon import HOST, HOST6, MORE_HOSTS, ours

ALL_AEADS = pytest.mark.parametrize("aead", nts.AEADS)


@pytest.fixture
def build(association):
    """build(aead, ...): a request that re-uses one cookie, for packets that bring none back."""

    def make(aead=nts.SIV256, **options):
        a = association(aead)
        if "cookie_fields" not in options:
            options.setdefault("cookie", a.cookies[0])
        return nts.nts_request(a, **options)

    return make


@pytest.fixture
def assert_silent(ntp):
    def check(*requests):
        packets = [getattr(r, "packet", r) for r in requests]
        assert [reply.hex() for reply in ntp.replies_to_all(packets)] == []

    return check


def served(ntp, request):
    return nts.check_reply(ntp.exchange(request.packet), request)


def refused(ntp, request):
    return nts.check_nak(ntp.exchange(request.packet), request)


# --- Extension fields ------------------------------------------------------------------------------


@ALL_AEADS
def test_line_34_field_types_by_their_numbers(ntp, association, aead):
    reply = ntp.nts(association(aead))
    assert [f.type for f in reply.fields] == [0x0104, 0x0404]
    assert [f.type for f in reply.inner] == [0x0204]


@pytest.mark.parametrize("length", [0, 1, 3, 4, 8, 12, 17, 18, 19, 21, 30])
def test_line_34_field_of_a_wrong_length_is_not_served_as_nts(build, ntp, length):
    """Shorter than 16 octets, or no multiple of 4: what follows cannot be read."""
    bad = nts.field(nts.UNKNOWN_FIELD, bytes(28), length=length)
    for request in (build(between=bad), build(before=bad)):
        for reply in ntp.replies(request.packet):
            assert len(reply) == 48 and not nts.is_nak(reply, request.transmit)


@pytest.mark.parametrize("length", [4, 8, 12, 17, 18, 19, 21, 22, 30])
def test_line_34_whole_field_of_a_wrong_length_is_not_served_as_nts(build, ntp, length):
    """The next field follows where it says: only its length is wrong."""
    bad = struct.pack(">HH", nts.UNKNOWN_FIELD, length) + os.urandom(length - 4)
    for request in (build(between=bad), build(before=bad)):
        for reply in ntp.replies(request.packet):
            assert len(reply) == 48 and not nts.is_nak(reply, request.transmit)


@pytest.mark.parametrize("length", [200, 1000, 65532, 65535])
def test_line_34_field_longer_than_the_packet_is_not_served_as_nts(build, assert_silent, length):
    assert_silent(build(between=nts.field(nts.UNKNOWN_FIELD, bytes(28), length=length)))


@pytest.mark.parametrize("body", [0, 4, 8, 12, 16, 20, 24, 28, 100])
def test_line_34_inner_fields_may_be_short(build, ntp, body):
    served(ntp, build(plaintext=nts.field(nts.UNKNOWN_FIELD, bytes(body))))


@pytest.mark.parametrize("plaintext", [b"\x23\x23", b"\x23\x23\0", b"\x23\x23\0\x05\0", b"\x23\x23\0\x06\0\0",
                                       b"\x23\x23\0\x10" + bytes(4), b"\x23\x23\0\0", bytes(7)])
def test_line_34_faulty_inner_fields_are_discarded(build, assert_silent, plaintext):
    assert_silent(build(plaintext=plaintext))


@pytest.mark.parametrize("address", [HOST, HOST6])
@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_line_35_client_mode_is_answered(daemon, address, version):
    with daemon.ntp(address) as s:
        header = s.plain(version=version)
        assert (header.version, header.mode, header.stratum, header.leap) == (version, 4, 10, 0)


@pytest.mark.parametrize("version,mode", [(v, m) for v in (1, 2, 3, 4) for m in (1, 2, 4, 5, 6, 7)]
                         + [(v, 0) for v in (2, 3, 4)] + [(v, m) for v in (0, 5, 6, 7) for m in range(8)])
def test_line_35_no_other_mode_or_version_is_answered(assert_silent, version, mode):
    assert_silent(nts.plain_request(version=version, mode=mode))


@pytest.mark.parametrize("mode", [1, 2, 4, 5, 6, 7])
def test_line_35_no_other_mode_is_answered_with_nts_either(build, assert_silent, mode):
    """NAKs included: else two servers could answer each other."""
    header = nts.Header(mode=mode, transmit=random.getrandbits(64))
    assert_silent(build(header=header), build(header=header, corrupt=True))


def test_line_35_version_1_mode_0_is_answered(ntp):
    header = ntp.plain(version=1, mode=0)
    assert (header.version, header.mode) == (1, 4)


def test_line_35_version_1_mode_0_from_port_123_is_not_answered(daemon):
    with nts.NtpSocket(HOST, daemon.ntp_port) as s:
        try:
            s.socket.bind((ours(78), 123))
        except OSError as error:
            pytest.skip(f"cannot bind UDP port 123: {error}")
        assert s.replies(nts.plain_request(version=1, mode=0)) == []


def test_line_35_mode_1_is_answered_when_configured(symmetric_daemon):
    with symmetric_daemon.ntp() as s:
        packet = nts.plain_request(mode=1)
        reply = nts.Header.parse(s.exchange(packet))
        assert (reply.mode, reply.origin) == (2, struct.unpack(">Q", packet[40:48])[0])


@pytest.mark.parametrize("version", [1, 2, 3])
def test_line_35_nts_is_for_version_4_only(build, ntp, version):
    request = build(header=nts.Header(version=version, transmit=random.getrandbits(64)))
    for reply in ntp.replies(request.packet):
        assert len(reply) == 48 and nts.Header.parse(reply).reference_id != b"NTSN"


@pytest.mark.parametrize("length", [0, 1, 4, 16, 47])
def test_line_35_short_packets_are_not_answered(assert_silent, length):
    assert_silent(nts.plain_request()[:length])


@pytest.mark.parametrize("length", [32, 36, 48, 64, 100, 256, 512, 1000])
def test_line_36_identifier_is_echoed_octet_for_octet(build, ntp, length):
    uid = os.urandom(length)
    reply = served(ntp, build(uid=uid))
    assert reply.fields[0].body == uid


@pytest.mark.parametrize("length", [12, 16, 20, 24, 28])
def test_line_36_short_identifier_is_not_served(build, assert_silent, length):
    uid = nts.field(nts.UID, os.urandom(length))
    assert_silent(build(uid_fields=uid), build(uid_fields=uid, corrupt=True))


@pytest.mark.parametrize("length", [0, 4, 8])
def test_line_36_identifier_too_short_for_a_field_is_not_served_as_nts(build, ntp, length):
    """It ends what can be read of the packet, which is then plain NTP."""
    request = build(uid_fields=nts.field(nts.UID, os.urandom(length)))
    for reply in ntp.replies(request.packet):
        assert len(reply) == 48 and not nts.is_nak(reply, request.transmit)


def test_line_36_two_identifiers_or_none_are_not_served(build, assert_silent):
    two = nts.field(nts.UID, os.urandom(32)) + nts.field(nts.UID, os.urandom(32))
    same = nts.field(nts.UID, bytes(32)) * 2
    assert_silent(build(uid_fields=two), build(uid_fields=same), build(uid_fields=b""))


@pytest.mark.parametrize("length", [32, 64, 200])
def test_line_37_identifier_of_a_plain_request_is_echoed(ntp, length):
    uid = os.urandom(length)
    packet = nts.plain_request() + nts.field(nts.UID, uid)
    reply = ntp.exchange(packet)
    assert nts.check_header(reply, struct.unpack(">Q", packet[40:48])[0]).stratum == 10
    assert reply[48:] == nts.field(nts.UID, uid)


def test_line_37_plain_reply_has_nothing_but_the_identifier(ntp):
    uid = nts.field(nts.UID, os.urandom(32))
    unknown = nts.field(nts.UNKNOWN_FIELD, bytes(40))
    assert ntp.exchange(nts.plain_request() + unknown + uid + unknown)[48:] == uid
    assert ntp.exchange(nts.plain_request() + unknown)[48:] == b""
    assert ntp.exchange(nts.plain_request() + uid + bytes(20))[48:] == uid  # a legacy MAC


def test_line_38_second_cookie_is_discarded(build, association, assert_silent):
    two = b"".join(nts.field(nts.COOKIE, c) for c in association().cookies[:1] * 2)
    assert_silent(build(cookie_fields=two))


def test_line_38_cookie_must_not_be_encrypted(build, association, assert_silent):
    cookie = nts.field(nts.COOKIE, association().cookies[0])
    assert_silent(build(cookie_fields=b"", plaintext=cookie), build(plaintext=cookie))


def test_line_38_cookie_without_authenticator_is_discarded(build, association, assert_silent):
    uid, cookie = nts.field(nts.UID, os.urandom(32)), nts.field(nts.COOKIE, association().cookies[0])
    assert_silent(nts.plain_request() + uid + cookie)


@ALL_AEADS
@pytest.mark.parametrize("order", ["ucp", "upc", "cup", "cpu", "puc", "pcu"])
def test_line_39_placeholders_stand_anywhere_with_any_contents(association, ntp, aead, order):
    a = association(aead)
    placeholders = b"".join(nts.field(nts.PLACEHOLDER, os.urandom(len(a.cookies[0]))) for _ in range(3))
    request = nts.nts_request(a, placeholder_fields=placeholders, order=order)
    assert len(nts.check_reply(ntp.exchange(request.packet), request).cookies) == 4


@ALL_AEADS
def test_line_39_placeholders_may_be_encrypted(association, ntp, aead):
    a = association(aead)
    inner = nts.field(nts.PLACEHOLDER, os.urandom(len(a.cookies[0]))) * 2
    request = nts.nts_request(a, plaintext=inner, placeholders=1)
    assert len(served(ntp, request).cookies) == 4


@pytest.mark.parametrize("difference", [-84, -4, 4, 100])
def test_line_39_placeholder_of_another_length_does_not_count(build, ntp, association, difference):
    wrong = nts.field(nts.PLACEHOLDER, bytes(len(association().cookies[0]) + difference))
    request = build(placeholder_fields=wrong)
    for reply in ntp.replies(request.packet):
        assert len(nts.check_reply(reply, request).cookies) == 1
    inner = build(plaintext=wrong)
    for reply in ntp.replies(inner.packet):
        assert len(nts.check_reply(reply, inner).cookies) == 1


def test_line_39_placeholder_without_a_cookie_is_not_served(build, assert_silent):
    assert_silent(build(cookie_fields=b"", placeholder_fields=nts.field(nts.PLACEHOLDER, bytes(100))))


# --- The authenticator -----------------------------------------------------------------------------


LENGTHS = sorted({0, 1, 2, 3, 4, 7, 8, 12, 15, 16, 17, 20, 24, 28, 31, 32, 33, 36, 37, 40, 64, 100, 255, 256, 1000,
                  0x7FFF, 0x8000, 0xFFFB, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF})


@ALL_AEADS
def test_line_40_wrong_lengths_inside_the_authenticator(build, ntp, aead):
    """Each alone and both: never an authenticated reply, unless the layout is right after all."""
    right = (nts.NONCE_LENGTH[aead], 16)
    packets = {}
    for nonce in LENGTHS:
        for ciphertext in LENGTHS if nonce in right or nonce > 0xFF00 else (16, 0xFFFF):
            if (nonce, ciphertext) != right:
                request = build(aead, nonce_length=nonce, ciphertext_length=ciphertext)
                packets[request.transmit] = request
    for batch in chunks([r.packet for r in packets.values()], 50):
        for reply in ntp.replies_to_all(batch):
            nts.check_nak(reply, packets[nts.Header.parse(reply).origin])


@pytest.mark.parametrize("nonce,ciphertext", [(0xFFFF, 16), (16, 0xFFFF), (40, 16), (16, 20), (16, 17), (37, 0),
                                              (0, 0), (16, 0), (16, 15), (0xFFFF, 0xFFFF)])
def test_line_40_lengths_beyond_the_field_are_discarded(build, assert_silent, nonce, ciphertext):
    assert_silent(build(nonce_length=nonce, ciphertext_length=ciphertext, nonce=bytes(16)))


@pytest.mark.parametrize("truncate", [4, 8, 16, 24, 32])
def test_line_40_truncated_authenticator_is_discarded(build, assert_silent, truncate):
    assert_silent(build(truncate=truncate))


@pytest.mark.parametrize("body", [b"", bytes(4), bytes(12), bytes(16), bytes(20), os.urandom(36), b"\xff" * 36])
def test_line_40_authenticator_of_garbage_is_never_served(build, ntp, association, body):
    a = association()
    uid = os.urandom(32)
    header = nts.Header(transmit=random.getrandbits(64))
    packet = header.pack() + nts.field(nts.UID, uid) + nts.field(nts.COOKIE, a.cookies[0])
    request = nts.Request(packet + nts.field(nts.AUTHENTICATOR, body), uid, header.transmit, a)
    for reply in ntp.replies(request.packet):
        nts.check_nak(reply, request)


@ALL_AEADS
def test_line_41_everything_before_the_authenticator_is_associated_data(build, ntp, aead):
    """One changed bit in every octet up to the authenticator: NAK, or no answer; never served.

    Where the change makes a field unreadable before the cookie, it is plain NTP that is answered.
    """
    request = build(aead, between=nts.field(nts.UNKNOWN_FIELD, bytes(12)))
    end = nts.parse_fields(request.packet[48:], 48)[-1].offset
    naks = 0
    for batch in chunks(range(1, end), 40):
        flipped = [nts.flip(request.packet, 8 * octet + random.randrange(8)) for octet in batch]
        for reply in ntp.replies_to_all(flipped):
            header = nts.Header.parse(reply)
            if header.reference_id == b"NTSN":
                naks += 1
            else:
                assert_plain(reply)
    assert naks >= end - 1 - 12  # all but those that break the structure: types and lengths
    served(ntp, request)


@ALL_AEADS
def test_line_41_changed_authenticator_is_refused(build, ntp, aead):
    request = build(aead, plaintext=nts.field(nts.UNKNOWN_FIELD, bytes(12)))
    field = nts.parse_fields(request.packet[48:], 48)[-1]
    start = field.offset + 8  # nonce and ciphertext, behind their lengths
    packets = [nts.flip(request.packet, 8 * octet + random.randrange(8))
               for octet in range(start, len(request.packet))]
    for batch in chunks(packets, 40):
        replies = ntp.replies_to_all(batch)
        assert len(replies) == len(batch)
        for reply in replies:
            nts.check_nak(reply, request)


SIV_ONLY = (nts.SIV256, nts.SIV384, nts.SIV512)


@pytest.mark.parametrize("aead", SIV_ONLY)
@pytest.mark.parametrize("nonce,padding", [(0, 0), (0, 12), (1, 8), (4, 8), (8, 4), (9, 0), (12, 0), (5, 4)])
def test_line_42_too_little_room_for_our_nonce_is_discarded(build, assert_silent, aead, nonce, padding):
    assert_silent(build(aead, nonce=os.urandom(nonce), padding=padding),
                  build(aead, nonce=os.urandom(nonce), padding=padding, corrupt=True))


@pytest.mark.parametrize("aead", SIV_ONLY)
@pytest.mark.parametrize("nonce,padding", [
    (0, 16), (0, 20), (1, 12), (1, 16), (8, 8), (12, 4), (13, 0), (15, 0), (15, 4), (16, 0), (16, 4), (16, 64),
    (17, 0), (20, 0), (32, 0), (64, 0), (255, 12)])
def test_line_43_other_nonce_lengths_and_more_padding_are_accepted(build, ntp, aead, nonce, padding):
    served(ntp, build(aead, nonce=os.urandom(nonce), padding=padding))


@pytest.mark.parametrize("padding", [0, 4, 16, 64])
def test_line_43_more_padding_is_accepted_with_gcm_siv(build, ntp, padding):
    served(ntp, build(nts.GCMSIV, padding=padding))


@pytest.mark.parametrize("nonce,padding", [(n, p) for n in (0, 1, 8, 11, 13, 16, 24) for p in (0, 16)])
def test_line_44_gcm_siv_nonce_is_twelve_octets(build, assert_silent, nonce, padding):
    assert_silent(build(nts.GCMSIV, nonce=os.urandom(nonce), padding=padding))


@ALL_AEADS
@pytest.mark.parametrize("body", [12, 16, 28, 256])
def test_line_45_unknown_fields_before_the_authenticator_are_ignored(build, ntp, aead, body):
    unknown = nts.field(nts.UNKNOWN_FIELD, os.urandom(body))
    for where in ({"before": unknown}, {"between": unknown}, {"before": unknown * 2, "between": unknown}):
        reply = nts.check_reply(ntp.exchange((r := build(aead, **where)).packet), r)
        assert [f.type for f in reply.fields] == [nts.UID, nts.AUTHENTICATOR]


def test_line_45_unknown_fields_are_authenticated(build, ntp):
    request = build(between=nts.field(nts.UNKNOWN_FIELD, b"original contents...."))
    refused(ntp, nts.Request(request.packet.replace(b"original", b"changed!"), request.uid,
                             request.transmit, request.association))


AFTER = {"unknown": nts.field(nts.UNKNOWN_FIELD, bytes(28)), "short": nts.field(nts.UNKNOWN_FIELD, bytes(12)),
         "mac_md5": bytes(20), "mac_sha1": os.urandom(24), "crypto_nak": bytes(4), "garbage": os.urandom(37),
         "identifier": nts.field(nts.UID, bytes(32)), "cookie": nts.field(nts.COOKIE, bytes(100)),
         "placeholders": nts.field(nts.PLACEHOLDER, bytes(100)) * 3,
         "authenticator": nts.field(nts.AUTHENTICATOR, bytes(36)), "one_octet": b"x",
         "field_and_mac": nts.field(nts.UNKNOWN_FIELD, bytes(28)) + bytes(20)}


@ALL_AEADS
@pytest.mark.parametrize("what", AFTER)
def test_line_46_what_follows_the_authenticator_is_discarded(build, ntp, aead, what):
    reply = served(ntp, build(aead, after=AFTER[what]))
    assert len(reply.cookies) == 1


@ALL_AEADS
def test_line_46_placeholders_behind_the_authenticator_do_not_count(build, ntp, association, aead):
    behind = nts.field(nts.PLACEHOLDER, bytes(len(association(aead).cookies[0]))) * 3
    assert len(served(ntp, build(aead, placeholders=1, after=behind)).cookies) == 2


# --- Replies ---------------------------------------------------------------------------------------


@ALL_AEADS
@pytest.mark.parametrize("placeholders", [0, 1, 3, 7, 8, 12])
def test_line_47_reply_order_and_cookie_count(association, ntp, aead, placeholders):
    a = association(aead)
    if 200 + (placeholders + 1) * (4 + len(a.cookies[0])) > 2048:
        placeholders = 9  # longer datagrams are not taken
    reply = ntp.nts(a, placeholders=placeholders)  # order and encryption: check_reply
    assert len(reply.cookies) == min(8, placeholders + 1) == len(set(reply.cookies))
    assert [f.type for f in reply.inner] == [nts.COOKIE] * len(reply.cookies)
    del a.cookies[8:]


@ALL_AEADS
def test_line_47_every_cookie_returned_is_good(association, ntp, aead):
    a = association(aead)
    for cookie in ntp.nts(a, placeholders=7).cookies:
        ntp.nts(a, cookie=cookie)
    del a.cookies[8:]


def random_shape(a):
    """A request of a random shape, most of them correct."""
    def fields(count):
        return b"".join(nts.field(nts.UNKNOWN_FIELD, os.urandom(4 * random.randint(3, 20)))
                        for _ in range(random.randrange(count)))

    cookie_length = len(a.cookies[0])
    siv = a.aead != nts.GCMSIV
    nonce = random.choice((0, 1, 12, 15, 16, 16, 16, 17, 40)) if siv else 12
    room = max(0, nts.NONCE_LENGTH[a.aead] - (nonce + 3) // 4 * 4)
    options = {"placeholders": random.choice((0, 0, 1, 3, 7, 8, 20)) if cookie_length < 120 else random.randrange(8),
               "uid": os.urandom(4 * random.choice((8, 8, 8, 9, 16, 40))),
               "before": fields(3), "between": fields(3), "after": fields(2) + bytes(random.choice((0, 0, 4, 20))),
               "nonce": os.urandom(nonce), "padding": room + 4 * random.choice((0, 0, 0, 1, 5)),
               "order": "".join(random.sample("ucp", 3)), "cookie": random.choice(a.cookies[:8]),
               "plaintext": fields(2) + nts.field(nts.PLACEHOLDER, bytes(cookie_length)) * random.randrange(3)}
    fault = random.random()
    if fault < 0.10:
        options["corrupt"] = True  # NAK
    elif fault < 0.20:
        options["cookie"] = os.urandom(random.choice((12, 68, 100, 132, 164)))  # NAK
    elif fault < 0.25:
        options["padding"] = max(0, room - 4)  # perhaps too little
    return nts.nts_request(a, **options)


@ALL_AEADS
def test_line_48_no_reply_is_longer_than_its_request(association, ntp, aead):
    a = association(aead)
    kinds = {"nts": 0, "nak": 0, "none": 0}
    for _ in range(150):
        request = random_shape(a)
        if len(request.packet) > 2000:
            continue
        replies = ntp.replies(request.packet)
        assert len(replies) <= 1
        if not replies:
            kinds["none"] += 1
        elif nts.is_nak(replies[0], request.transmit):
            nts.check_nak(replies[0], request)
            kinds["nak"] += 1
        else:
            reply = nts.check_reply(replies[0], request)
            again = nts.nts_request(a, cookie=random.choice(reply.cookies))
            served(ntp, again)
            kinds["nts"] += 1
        del a.cookies[8:]
    assert kinds["nts"] > 70 and kinds["nak"] > 5, kinds


def test_line_48_plain_replies_are_not_longer_either(ntp):
    for _ in range(100):
        extra = random.choice((b"", os.urandom(random.randrange(200)), nts.field(nts.UID, os.urandom(32)),
                               nts.field(nts.UID, os.urandom(32)) + os.urandom(random.randrange(60))))
        packet = nts.plain_request(version=random.randint(1, 4)) + extra
        assert 48 <= len(ntp.exchange(packet)) <= len(packet)


@ALL_AEADS
def test_line_48_cookies_are_fewer_where_the_request_is_too_short_for_them(association, ntp, aead):
    """A nonce shorter than ours, no placeholders: still one cookie, still no longer."""
    a = association(aead)
    request = nts.nts_request(a, nonce=os.urandom(12), padding=4 if aead != nts.GCMSIV else 0)
    assert len(served(ntp, request).packet) == len(request.packet)


@ALL_AEADS
def test_line_49_the_whole_reply_header_is_authenticated(association, ntp, aead):
    a = association(aead)
    request = nts.nts_request(a)
    before = time.time()
    packet = ntp.exchange(request.packet)
    after = time.time()
    reply = nts.check_reply(packet, request)
    transmitted = nts.ntp_to_unix(reply.header.transmit)
    assert before - 0.001 <= nts.ntp_to_unix(reply.header.receive) <= transmitted <= after + 0.001
    for octet in range(reply.fields[-1].offset):
        with pytest.raises((nts.NotAuthentic, AssertionError, struct.error)):
            nts.check_reply(nts.flip(packet, 8 * octet + random.randrange(8)), request)


@ALL_AEADS
def test_line_50_no_nonce_comes_twice(daemon, association, aead):
    """Many client ports, so that every shard answers; NTS-KE threads as well."""
    nonces, cookie_nonces, total = set(), set(), 0
    a = association(aead)
    for _ in range(8):
        with daemon.ntp() as s:
            for _ in range(10):
                reply = s.nts(a, cookie=a.cookies[0], placeholders=3)
                nonces.add(reply.nonce)
                cookie_nonces.update(daemons.cookie_nonce(c) for c in reply.cookies)
                total += len(reply.cookies)
                del a.cookies[8:]
    for _ in range(10):
        cookies = daemon.ke(nts.ke_request([aead])).cookies
        cookie_nonces.update(daemons.cookie_nonce(c) for c in cookies)
        total += len(cookies)
    assert len(nonces) == 80 and len(cookie_nonces) == total == 400


def test_line_50_no_nonce_comes_twice_after_a_restart(start):
    """The generator does not begin again where it began before."""
    seen = []
    d = start({"ntp.shards": 1, "nts_ke.threads": 1})
    for _ in range(2):
        with d:
            a = d.associate()
            seen += [daemons.cookie_nonce(c) for c in a.cookies]
            with d.ntp() as s:
                for _ in range(5):
                    reply = s.nts(a, placeholders=7)
                    seen += [reply.nonce] + [daemons.cookie_nonce(c) for c in reply.cookies]
    assert len(seen) == len(set(seen)) == 2 * (8 + 5 * 9)


# --- Refusals --------------------------------------------------------------------------------------


def spoiled_cookies(daemon, cookie):
    """By name: cookies that no key of the daemon opens."""
    identifier = daemons.cookie_key_id(cookie)
    unknown = (identifier + 0x40000000) & 0xFFFFFFFF
    stranger = nts.Association(nts.SIV256, os.urandom(32), os.urandom(32))
    yield "unknown identifier", unknown.to_bytes(4, "big") + cookie[4:]
    yield "no such length", cookie + bytes(4)
    yield "shorter", cookie[:-4]
    yield "tag", nts.flip(cookie, 20 * 8)
    yield "nonce", nts.flip(cookie, 4 * 8)
    yield "last bit", nts.flip(cookie, len(cookie) * 8 - 1)
    yield "another key", daemons.seal_cookie((identifier, os.urandom(32)), stranger)
    yield "erased key", daemons.seal_cookie((unknown, os.urandom(32)), stranger)
    yield "zeros", bytes(len(cookie))


@ALL_AEADS
def test_line_51_cookie_that_does_not_open_gets_a_nak(daemon, build, ntp, association, aead):
    for _, cookie in spoiled_cookies(daemon, association(aead).cookies[0]):
        for placeholders in (0, 3):
            refused(ntp, build(aead, cookie=cookie, placeholders=placeholders))


def test_line_51_every_octet_of_a_cookie_counts(build, ntp, association):
    cookie = association().cookies[0]
    for octet in range(len(cookie)):
        refused(ntp, build(cookie=nts.flip(cookie, 8 * octet + random.randrange(8))))


def test_line_51_nak_is_counted(daemon, build, ntp):
    before = daemon.verdict("nak")
    refused(ntp, build(cookie=bytes(100)))
    daemon.expect_verdict("nak", before + 1)


def test_line_51_nak_leads_back_to_service(daemon, ntp):
    """What a client does when the server has lost its keys: a new NTS-KE."""
    a = daemon.associate()
    refused(ntp, nts.nts_request(a, cookie=bytes(100)))
    ntp.nts(daemon.associate())


@ALL_AEADS
def test_line_52_authenticator_under_a_wrong_key_gets_a_nak(build, ntp, association, aead):
    refused(ntp, build(aead, corrupt=True))
    refused(ntp, build(aead, key=os.urandom(nts.KEY_LENGTH[aead])))
    refused(ntp, build(aead, key=association(aead).s2c))
    refused(ntp, build(aead, corrupt=True, placeholders=3, between=AFTER["unknown"]))


def test_line_52_structural_faults_get_no_nak(build, association, assert_silent):
    cookie = nts.field(nts.COOKIE, bytes(100))
    assert_silent(build(uid_fields=b"", corrupt=True), build(cookie_fields=cookie * 2, corrupt=True),
                  build(nonce=os.urandom(8), padding=4, corrupt=True), build(truncate=8, corrupt=True))


def test_line_53_no_nak_without_identifier(build, assert_silent):
    assert_silent(build(uid_fields=b"", cookie=bytes(100)), build(uid_fields=b"", corrupt=True))


def test_line_53_naks_are_rate_limited(start):
    with start({"rate_limit.refusals_per_second": 10, "ntp.shards": 1}) as d, d.ntp() as s:
        a = d.associate()
        requests = [nts.nts_request(a, cookie=bytes(100)) for _ in range(200)]
        began = time.monotonic()
        naks = s.replies_to_all([r.packet for r in requests])
        allowed = 10 * (time.monotonic() - began + 1) + 1
        assert 5 <= len(naks) <= allowed + 10
        d.expect_verdict("dropped_refusal_rate", 200 - len(naks))
        s.nts(a)  # service goes on


def test_line_53_kisses_are_rate_limited(start):
    settings = {"rate_limit.enabled": True, "rate_limit.action": "kiss", "rate_limit.burst": 1,
                "rate_limit.interval": "1h", "rate_limit.let_through": 0,
                "rate_limit.refusals_per_second": 10, "ntp.shards": 1}
    with start(settings) as d, d.ntp(source=ours(9)) as s:
        s.plain()
        for _ in range(200):
            s.send(nts.plain_request())
        kisses = sum(1 for _ in iter(lambda: s.receive(2), None))
        assert 5 <= kisses <= 40
        d.expect_verdict("kiss_rate", kisses)
        d.expect_verdict("dropped_refusal_rate", 200 - kisses)


def test_line_53_rate_and_nak_due_together_no_reply(kiss_daemon):
    a = kiss_daemon.associate()
    with kiss_daemon.ntp(source=ours(21)) as s:
        exhaust(s)
        for bad in ({"cookie": bytes(100)}, {"cookie": a.cookies[0], "corrupt": True}):
            s.send(nts.nts_request(a, **bad).packet)
        assert s.receive(0.3) is None


def exhaust(s, at_most=100):
    """Plain requests until one is not served."""
    for _ in range(at_most):
        packet = nts.plain_request()
        s.send(packet)
        reply = s.receive(2)
        if reply is None or nts.Header.parse(reply).stratum == 0:
            return reply
    raise AssertionError("the rate limit never came")


def test_line_54_algorithm_disabled_later_still_works(start):
    d = start({"nts_ke.aeads": [17, 30, 15]})
    with d:
        kept = {aead: d.associate(aead) for aead in (17, 30)}
    d.settings["nts_ke.aeads"] = [15]
    with d, d.ntp() as s:
        for aead, a in kept.items():
            assert d.ke(nts.ke_request([aead, 15])).aead == 15
            for _ in range(3):
                s.nts(a, placeholders=1)


@ALL_AEADS
def test_line_55_older_generations_work_and_new_cookies_are_current(start, old_keys_daemon, aead):
    d, keys = old_keys_daemon
    with d.ntp() as s:
        for generation in keys.generations[1:]:
            a = daemons.made_up_association(generation, aead)
            length = len(a.cookies[0])
            for cookie in s.nts(a, placeholders=2).cookies:
                assert daemons.cookie_key_id(cookie) == keys.current[0]
                assert len(cookie) == length


def test_line_55_cookies_survive_restarts(start):
    d = start()
    with d:
        a = d.associate()
    for _ in range(2):
        with d, d.ntp() as s:
            s.nts(a)


def test_line_55_retired_generation_gets_a_nak(start):
    """keep = 2: what is older is dropped as soon as the keys rotate."""
    d = start({"keys.keep": 2, "keys.rotation": "1h"})
    keys = daemons.KeyFile.make(100, old=2, rotated=1)  # long ago: a rotation is due at once
    keys.write(d.key_file)
    with d, d.ntp() as s:
        after = daemons.wait_for(lambda: rotated_from(d, keys), what="rotation")
        d.metrics()  # told by the thread that rotates: the shards have the keys, too
        assert [g[0] for g in after.generations] == [102, 101, 100, 99]
        for identifier, key in keys.generations[:-1]:
            s.nts(daemons.made_up_association((identifier, key)))
        a = daemons.made_up_association(keys.generations[-1])
        refused(s, nts.nts_request(a))


def rotated_from(d, keys):
    now = daemons.KeyFile.read(d.key_file)
    return now if now.current[0] != keys.current[0] else None


def test_line_55_rotation_disturbs_nobody(start):
    """A key a second, seven kept: a client that polls keeps its service, cookies keep their length."""
    with start({"keys.rotation": "1s"}) as d, d.ntp() as s:
        associations = [d.associate(aead) for aead in nts.AEADS]
        identifiers = set()
        deadline = time.monotonic() + 15
        while len(identifiers) < 5 and time.monotonic() < deadline:
            for a in associations:
                length = len(a.cookies[0])
                for cookie in s.nts(a, cookie=a.take()).cookies:
                    assert len(cookie) == length
                    identifiers.add(daemons.cookie_key_id(cookie))
            time.sleep(0.05)
        assert len(identifiers) >= 5
        assert d.verdict("nak") == 0


def test_line_56_next_key_works_before_our_rotation(old_keys_daemon):
    d, keys = old_keys_daemon
    with d.ntp() as s:
        s.nts(daemons.made_up_association(keys.next))


@pytest.mark.parametrize("address", [HOST, HOST6])
def test_line_57_plain_ntp_is_answered(daemon, address):
    with daemon.ntp(address) as s:
        before = time.time()
        header = s.plain(poll=6)
        after = time.time()
        received, transmitted = map(nts.ntp_to_unix, (header.receive, header.transmit))
        assert before - 0.001 <= received <= transmitted <= after + 0.001
        assert (header.leap, header.stratum, header.poll) == (0, 10, 6)
        assert header.precision < -10 and header.root_dispersion > 0
        assert nts.ntp_to_unix(header.reference) <= transmitted


@pytest.mark.parametrize("address", [HOST, *MORE_HOSTS, HOST6])
def test_line_57_reply_comes_from_the_address_asked(daemon, association, address):
    with daemon.ntp(address) as s:
        s.plain()
        assert s.last_source[:2] == (address, daemon.ntp_port)
        s.nts(association())
        assert s.last_source[:2] == (address, daemon.ntp_port)


def test_line_57_transmit_timestamps_never_repeat(ntp):
    stamps = [ntp.plain() for _ in range(100)]
    assert len({h.transmit for h in stamps}) == 100
    assert all(h.receive < h.transmit for h in stamps)


def test_line_57_unless_nts_is_required(strict_daemon):
    a = strict_daemon.associate()
    before = strict_daemon.verdict("dropped_nts_required")
    with strict_daemon.ntp() as s:
        s.send(nts.plain_request())
        s.nts(a)
        assert s.receive(0.05) is None
    strict_daemon.expect_verdict("dropped_nts_required", before + 1)


@pytest.mark.parametrize("trust", [False, True])
def test_line_57_unsynchronised_says_so(start, trust):
    """The kernel's word, unless the operator vouches for it."""
    with start(refclock={"driver": "system", "trust": trust, "stratum": 3}) as d, d.ntp() as s:
        header = s.plain()
        if trust or kernel_is_synchronised():
            assert (header.leap, header.stratum) == (0, 3)
        else:
            assert (header.leap, header.stratum) == (3, 0)
        a = d.associate()
        assert s.nts(a).header.stratum == header.stratum


def kernel_is_synchronised():
    """ntp_adjtime(2) with modes 0: reads, changes nothing."""
    import ctypes
    buffer = ctypes.create_string_buffer(256)
    return ctypes.CDLL(None).ntp_adjtime(buffer) != 5  # TIME_ERROR


@pytest.mark.parametrize("aead,length", [(nts.SIV256, 956), (nts.GCMSIV, 696), (nts.SIV384, 1212)])
def test_line_58_eight_cookies_fit_1280_octets(association, ntp, aead, length):
    a = association(aead)
    request = nts.nts_request(a, placeholders=7)
    reply = served(ntp, request)
    assert len(request.packet) == len(reply.packet) == length <= 1280
    assert len(reply.cookies) == 8
    del a.cookies[8:]


def test_line_59_cookie_may_be_used_again(build, ntp, association):
    request = build()
    replies = [nts.check_reply(ntp.exchange(request.packet), request) for _ in range(3)]
    assert len({r.cookies[0] for r in replies}) == 3
    del association().cookies[8:]


def test_line_59_no_state_per_client(daemon, build):
    """The same cookie from other ports, other addresses, the other family."""
    for address, source in ((HOST, ours(5)), (HOST, ours(6)), (HOST6, None)):
        with daemon.ntp(address, source) as s:
            served(s, build())


def test_line_60_nts_over_the_limit_is_dropped(kiss_daemon):
    """Never an unauthenticated RATE, though plain requests get one."""
    a = kiss_daemon.associate()
    with kiss_daemon.ntp(source=ours(31)) as s:
        kiss = exhaust(s)
        assert kiss is not None and nts.Header.parse(kiss).reference_id == b"RATE"
        for _ in range(5):
            s.send(nts.nts_request(a, cookie=a.cookies[0]).packet)
        assert s.receive(0.3) is None


def test_line_60_kiss_is_well_formed(kiss_daemon):
    with kiss_daemon.ntp(source=ours(32)) as s:
        exhaust(s)
        for extra in (b"", nts.field(nts.UID, os.urandom(32))):
            packet = nts.plain_request() + extra
            reply = s.exchange(packet)
            header = nts.check_header(reply, struct.unpack(">Q", packet[40:48])[0])
            assert (header.leap, header.stratum, header.reference_id) == (3, 0, b"RATE")
            assert reply[48:] == extra


def test_line_60_within_the_limit_nts_is_served(kiss_daemon):
    a = kiss_daemon.associate()
    with kiss_daemon.ntp(source=ours(33)) as s:
        for _ in range(4):
            s.nts(a)


def test_line_60_a_share_is_let_through(start):
    settings = {"rate_limit.enabled": True, "rate_limit.burst": 1, "rate_limit.interval": "1h",
                "rate_limit.let_through": 4}
    with start(settings) as d, d.ntp(source=ours(41)) as s:
        a = d.associate()
        for _ in range(400):
            s.send(nts.plain_request())
        plain = sum(1 for _ in iter(lambda: s.receive(2), None))
        assert 60 <= plain <= 140  # 100 expected; six standard deviations are 52
        for _ in range(100):
            s.send(nts.nts_request(a, cookie=a.cookies[0]).packet)
        assert 5 <= sum(1 for _ in iter(lambda: s.receive(2), None)) <= 50


def assert_plain(reply):
    """Nothing that an NTS client would take for an answer."""
    types = [f.type for f in nts.parse_fields(reply[48:])]
    assert types in ([], [nts.UID]), "served"


def chunks(values, size):
    values = list(values)
    return [values[i : i + size] for i in range(0, len(values), size)]
