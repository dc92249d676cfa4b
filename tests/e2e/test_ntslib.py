"""The conformance suite's own library against published vectors: a wrong ruler measures nothing."""
import os
import random
import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

import ntslib as nts

unhex = bytes.fromhex


def test_rfc_5297_appendix_a_1():
    key = unhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    ad = unhex("101112131415161718191a1b1c1d1e1f2021222324252627")
    plaintext = unhex("112233445566778899aabbccddee")
    expected = unhex("85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c")
    assert nts.siv_seal(key, b"", ad, plaintext) == expected
    assert nts.siv_open(key, b"", ad, expected) == plaintext


def test_rfc_5297_appendix_a_2():
    key = unhex("7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f")
    headers = [unhex("00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100"),
               unhex("102030405060708090a0"), unhex("09f911029d74e35bd84156c5635688c0")]
    plaintext = b"this is some plaintext to encrypt using SIV-AES"
    expected = unhex("7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17"
                     "dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d")
    assert nts.siv_seal_components(key, headers, plaintext) == expected


@pytest.mark.parametrize("key_length", [32, 48, 64])
def test_siv_agrees_with_openssl(key_length):
    for _ in range(50):
        key = os.urandom(key_length)
        nonce, ad = os.urandom(random.randint(1, 40)), os.urandom(random.randint(0, 200))
        plaintext = os.urandom(random.randint(1, 200))
        sealed = nts.siv_seal(key, nonce, ad, plaintext)
        assert sealed == AESSIV(key).encrypt(plaintext, [ad, nonce])
        assert nts.siv_open(key, nonce, ad, sealed) == plaintext


def test_rfc_8452_appendix_a_polyval():
    key = unhex("25629347589242761d31f826ba4b757b")
    data = unhex("4f4f95668c83dfb6401762bb2d01a262d1a24ddd2721d006bbe45f20d3c9f362")
    assert nts.polyval(key, data) == unhex("f7a3b47b846119fae5b7866cf5e5b77e")


ONE, THREE = "01" + "00" * 15, "03" + "00" * 11
GCM_SIV_VECTORS = [  # RFC 8452, appendix C.1 and C.2: key, nonce, AAD, plaintext, result
    (ONE, THREE, "", "", "dc20e2d83f25705bb49e439eca56de25"),
    (ONE, THREE, "", "01" + "00" * 7, "b5d839330ac7b786578782fff6013b815b287c22493a364c"),
    (ONE, THREE, "", "01" + "00" * 11, "7323ea61d05932260047d942a4978db357391a0bc4fdec8b0d106639"),
    (ONE, THREE, "", ONE, "743f7c8077ab25f8624e2e948579cf77303aaf90f6fe21199c6068577437a0c4"),
    (ONE, THREE, "", ONE + "02" + "00" * 15, "84e07e62ba83a6585417245d7ec413a9fe427d6315c09b57"
                                             "ce45f2e3936a94451a8e45dcd4578c667cd86847bf6155ff"),
    (ONE, THREE, "01", "02" + "00" * 7, "1e6daba35669f4273b0a1a2560969cdf790d99759abd1508"),
    ("e66021d5eb8e4f4066d4adb9c33560e4", "f46e44bb3da0015c94f70887", "", "",
     "a4194b79071b01a87d65f706e3949578"),
    ("36864200e0eaf5284d884a0e77d31646", "bae8e37fc83441b16034566b", "46bb91c3c5", "7a806c",
     "af60eb711bd85bc1e4d3e0a462e074eea428a8"),
    ("01" + "00" * 31, THREE, "", "", "07f5f4169bbf55a8400cd47ea6fd400f"),
    ("01" + "00" * 31, THREE, "", "01" + "00" * 7, "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28"),
]


@pytest.mark.parametrize("key,nonce,ad,plaintext,result", GCM_SIV_VECTORS)
def test_rfc_8452_appendix_c(key, nonce, ad, plaintext, result):
    key, nonce, ad, plaintext, result = map(unhex, (key, nonce, ad, plaintext, result))
    assert nts.gcm_siv_seal(key, nonce, ad, plaintext) == result
    assert nts.gcm_siv_open(key, nonce, ad, result) == plaintext


@pytest.mark.parametrize("aead", nts.AEADS)
def test_every_flipped_bit_is_refused(aead):
    key, nonce = os.urandom(nts.KEY_LENGTH[aead]), os.urandom(nts.NONCE_LENGTH[aead])
    ad, plaintext = os.urandom(20), os.urandom(9)
    sealed = nts.seal(aead, key, nonce, ad, plaintext)
    assert nts.open_sealed(aead, key, nonce, ad, sealed) == plaintext
    for bit in range(0, len(sealed) * 8, 3):
        with pytest.raises(nts.NotAuthentic):
            nts.open_sealed(aead, key, nonce, ad, nts.flip(sealed, bit))
    for bit in range(0, len(ad) * 8, 7):
        with pytest.raises(nts.NotAuthentic):
            nts.open_sealed(aead, key, nonce, nts.flip(ad, bit), sealed)


def test_records_round_trip():
    octets = nts.ke_request([30, 15], extra=nts.record(99, b"odd"))
    records = nts.parse_records(octets)
    assert [(r.type, r.critical) for r in records] == [(1, True), (4, True), (1024, False), (99, False),
                                                       (0, True)]
    assert records[1].words() == [30, 15] and records[3].body == b"odd"
    with pytest.raises(AssertionError):
        nts.parse_records(octets[:-1])


def test_exporter_context_is_protocol_aead_direction():
    assert nts.exporter_context(15, False) == unhex("0000000f00")
    assert nts.exporter_context(30, True) == unhex("0000001e01")


@pytest.mark.parametrize("aead", nts.AEADS)
def test_request_layout(aead):
    association = nts.Association(aead, os.urandom(nts.KEY_LENGTH[aead]), b"", [b"c" * 100])
    request = nts.nts_request(association, placeholders=2)
    fields = nts.parse_fields(request.packet[48:], 48)
    assert [f.type for f in fields] == [nts.UID, nts.COOKIE, nts.PLACEHOLDER, nts.PLACEHOLDER,
                                        nts.AUTHENTICATOR]
    nonce, ciphertext = nts.split_authenticator(fields[-1].body)
    assert len(nonce) == nts.NONCE_LENGTH[aead] and len(ciphertext) == 16
    assert nts.open_sealed(aead, association.c2s, nonce, request.packet[: fields[-1].offset],
                           ciphertext) == b""
    assert not association.cookies


def make_reply(request, **changes):
    """A server's reply, as simple as can be."""
    association = request.association
    header = nts.Header(leap=0, mode=4, stratum=1, origin=request.transmit, transmit=7)
    packet = header.pack() + nts.field(nts.UID, changes.get("uid", request.uid))
    cookies = nts.field(nts.COOKIE, b"d" * 100)
    return packet + nts.authenticator(association.aead, changes.get("key", association.s2c), packet, cookies)


def test_check_reply_accepts_a_right_reply_and_refuses_wrong_ones():
    association = nts.Association(15, os.urandom(32), os.urandom(32), [b"c" * 100])
    request = nts.nts_request(association)
    reply = make_reply(request)
    assert nts.check_reply(reply, request).cookies == [b"d" * 100]
    assert association.cookies == [b"d" * 100]
    for wrong in (make_reply(request, uid=bytes(32)), reply + bytes(4), reply[:48], reply + bytes(300)):
        with pytest.raises((AssertionError, struct.error)):
            nts.check_reply(wrong, request)
    with pytest.raises(nts.NotAuthentic):
        nts.check_reply(make_reply(request, key=os.urandom(32)), request)


def test_ntp_to_unix_in_both_eras():
    assert nts.ntp_to_unix(nts.UNIX_TO_NTP << 32, now=1) == 0
    in_2036 = 2**32 - nts.UNIX_TO_NTP + 10  # ten seconds into era 1
    assert nts.ntp_to_unix(10 << 32, now=in_2036 - 5) == in_2036
