"""A second, independent implementation of the NTS client, for the conformance suite.

Nothing here is shared with the daemon: AES-SIV-CMAC and AES-GCM-SIV over AES alone, NTS-KE over TLS 1.3
with the octets under our control, NTP packets with every malformation a test may want. Plain functions
over octets; sockets only in TlsClient and NtpSocket. RFC 8915, 5905, 7822, 5297, 8452.
"""
import contextlib
import itertools
import os
import random
import select
import socket
import struct
import time
from dataclasses import dataclass, field as dataclass_field

from cryptography.hazmat.primitives import cmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from OpenSSL import SSL

# --- AEADs -----------------------------------------------------------------------------------------

SIV256, SIV384, SIV512, GCMSIV = 15, 16, 17, 30
AEADS = (SIV256, SIV384, SIV512, GCMSIV)
KEY_LENGTH = {SIV256: 32, SIV384: 48, SIV512: 64, GCMSIV: 16}
NONCE_LENGTH = {SIV256: 16, SIV384: 16, SIV512: 16, GCMSIV: 12}  # N_REQ of RFC 8915, section 5.6
TAG_LENGTH = 16


class NotAuthentic(Exception):
    """The authentication tag does not verify, or the nonce has a length the algorithm does not take."""


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def aes_cmac(key, message):
    c = cmac.CMAC(algorithms.AES(key))
    c.update(message)
    return c.finalize()


def double(block):
    """Multiplication by x in GF(2^128), RFC 5297 section 2.3."""
    value = int.from_bytes(block, "big") << 1
    if value >> 128:
        value = (value & ((1 << 128) - 1)) ^ 0x87
    return value.to_bytes(16, "big")


def s2v(key, components):
    """RFC 5297, section 2.4: the last component is the plaintext."""
    *headers, last = components
    d = aes_cmac(key, bytes(16))
    for header in headers:
        d = xor(double(d), aes_cmac(key, header))
    if len(last) >= 16:
        return aes_cmac(key, last[:-16] + xor(last[-16:], d))
    return aes_cmac(key, xor(double(d), last + b"\x80" + bytes(15 - len(last))))


def siv_ctr(key, siv, data):
    counter = bytearray(siv)
    counter[8] &= 0x7F
    counter[12] &= 0x7F
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(counter))).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def siv_components(ad, nonce):
    """A nonce of length 0 is no component at all (RFC 5297, section 3: the nonce is optional)."""
    return [ad, nonce] if nonce else [ad]


def siv_seal(key, nonce, ad, plaintext):
    return siv_seal_components(key, siv_components(ad, nonce), plaintext)


def siv_seal_components(key, headers, plaintext):
    half = len(key) // 2
    siv = s2v(key[:half], [*headers, plaintext])
    return siv + siv_ctr(key[half:], siv, plaintext)


def siv_open(key, nonce, ad, ciphertext):
    if len(ciphertext) < TAG_LENGTH:
        raise NotAuthentic("shorter than the tag")
    half = len(key) // 2
    siv, data = ciphertext[:16], ciphertext[16:]
    plaintext = siv_ctr(key[half:], siv, data)
    if s2v(key[:half], [*siv_components(ad, nonce), plaintext]) != siv:
        raise NotAuthentic("SIV differs")
    return plaintext


# x^128 + x^127 + x^126 + x^121 + 1, RFC 8452 section 3; bit i is the coefficient of x^i.
POLYVAL_POLYNOMIAL = (1 << 128) | (1 << 127) | (1 << 126) | (1 << 121) | 1


def polyval_dot(a, b):
    """a * b * x^-128."""
    product = 0
    while b:
        low = b & -b
        product ^= a * low
        b ^= low
    for bit in range(128):
        if product >> bit & 1:
            product ^= POLYVAL_POLYNOMIAL << bit
    return product >> 128


def polyval(key, data):
    h = int.from_bytes(key, "little")
    s = 0
    for i in range(0, len(data), 16):
        s = polyval_dot(s ^ int.from_bytes(data[i : i + 16], "little"), h)
    return s.to_bytes(16, "little")


def aes_ecb(key, blocks):
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(blocks) + encryptor.finalize()


def gcm_siv_keys(key, nonce):
    count = 2 + len(key) // 8
    blocks = aes_ecb(key, b"".join(struct.pack("<I", i) + nonce for i in range(count)))
    halves = b"".join(blocks[i : i + 8] for i in range(0, len(blocks), 16))
    return halves[:16], halves[16:]


def pad16(data):
    return data + bytes(-len(data) % 16)


def gcm_siv_tag(auth_key, enc_key, nonce, ad, plaintext):
    lengths = struct.pack("<QQ", len(ad) * 8, len(plaintext) * 8)
    s = bytearray(polyval(auth_key, pad16(ad) + pad16(plaintext) + lengths))
    s[:12] = xor(s[:12], nonce)
    s[15] &= 0x7F
    return aes_ecb(enc_key, bytes(s))


def gcm_siv_ctr(enc_key, tag, data):
    if not data:
        return b""
    start = struct.unpack("<I", tag[:4])[0]
    rest = tag[4:15] + bytes([tag[15] | 0x80])
    blocks = b"".join(
        struct.pack("<I", (start + i) & 0xFFFFFFFF) + rest for i in range((len(data) + 15) // 16)
    )
    return xor(data, aes_ecb(enc_key, blocks))


def gcm_siv_seal(key, nonce, ad, plaintext):
    auth_key, enc_key = gcm_siv_keys(key, nonce)
    tag = gcm_siv_tag(auth_key, enc_key, nonce, ad, plaintext)
    return gcm_siv_ctr(enc_key, tag, plaintext) + tag


def gcm_siv_open(key, nonce, ad, ciphertext):
    if len(nonce) != 12 or len(ciphertext) < TAG_LENGTH:
        raise NotAuthentic("nonce or ciphertext length")
    auth_key, enc_key = gcm_siv_keys(key, nonce)
    data, tag = ciphertext[:-16], ciphertext[-16:]
    plaintext = gcm_siv_ctr(enc_key, tag, data)
    if gcm_siv_tag(auth_key, enc_key, nonce, ad, plaintext) != tag:
        raise NotAuthentic("tag differs")
    return plaintext


def seal(aead, key, nonce, ad, plaintext):
    if aead != GCMSIV:
        return siv_seal(key, nonce, ad, plaintext)
    if len(nonce) != 12:  # for the tests that send such a nonce: no right ciphertext exists
        return os.urandom(len(plaintext) + TAG_LENGTH)
    return gcm_siv_seal(key, nonce, ad, plaintext)


def open_sealed(aead, key, nonce, ad, ciphertext):
    opener = gcm_siv_open if aead == GCMSIV else siv_open
    return opener(key, nonce, ad, ciphertext)


# --- NTS-KE records --------------------------------------------------------------------------------

EOM, NEXT_PROTOCOL, ERROR, WARNING, AEAD, NEW_COOKIE, SERVER, PORT = range(8)
COMPLIANT_GCM_SIV = 1024
ALPN = b"ntske/1"
EXPORTER_LABEL = b"EXPORTER-network-time-security"


@dataclass
class Record:
    critical: bool
    type: int
    body: bytes

    def words(self):
        assert len(self.body) % 2 == 0, f"odd body {self.body.hex()}"
        return [w for (w,) in struct.iter_unpack(">H", self.body)]


def record(type_, body=b"", critical=False, length=None):
    """One record; length: what its header says, when that shall not be the truth."""
    body_length = len(body) if length is None else length
    return struct.pack(">HH", type_ | (0x8000 if critical else 0), body_length) + body


def words(*values):
    return b"".join(struct.pack(">H", v) for v in values)


def eom(critical=True, body=b""):
    return record(EOM, body, critical)


def next_protocol(*ids, critical=True):
    return record(NEXT_PROTOCOL, words(*ids), critical)


def aead_record(*ids, critical=True):
    return record(AEAD, words(*ids), critical)


def ke_request(aeads=(SIV256,), compliant=None, protocols=(0,), extra=b""):
    """A correct request. compliant: send record 1024 (default: when 30 is offered)."""
    if compliant is None:
        compliant = GCMSIV in aeads
    out = next_protocol(*protocols) + aead_record(*aeads)
    if compliant:
        out += record(COMPLIANT_GCM_SIV)
    return out + extra + eom()


def parse_records(stream):
    """Every record of a stream that must consist of whole records."""
    records = []
    while stream:
        assert len(stream) >= 4, f"stream ends in a record header: {stream.hex()}"
        first, length = struct.unpack(">HH", stream[:4])
        assert len(stream) >= 4 + length, "stream ends inside a record"
        records.append(Record(bool(first & 0x8000), first & 0x7FFF, stream[4 : 4 + length]))
        stream = stream[4 + length :]
    return records


def exporter_context(aead, server_to_client):
    return struct.pack(">HHB", 0, aead, 1 if server_to_client else 0)


# --- TLS -------------------------------------------------------------------------------------------

ALERT_CLOSE_NOTIFY = 0
ALERT_PROTOCOL_VERSION = 70
ALERT_NO_APPLICATION_PROTOCOL = 120
SSL_CB_READ_ALERT = 0x4004


class TlsFailure(Exception):
    """The handshake or the session ended otherwise than in order; alerts: those received."""

    def __init__(self, message, alerts):
        super().__init__(f"{message} (alerts received: {alerts})")
        self.alerts = alerts


@dataclass
class Stream:
    """What a server sent until its connection ended, or until the time ran out."""

    data: bytes = b""
    close_notify: bool = False
    eof: bool = False
    reset: bool = False
    elapsed: float = 0.0

    def records(self):
        return parse_records(self.data)


class TlsClient:
    """A TLS client over a memory BIO: every octet on the TCP connection passes through our hands."""

    def __init__(self, address, port, alpn=(ALPN,), versions=(SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION),
                 server_name=None, ca_file=None, keylog=None, session=None, timeout=10.0, source=None,
                 ciphers=None):
        self.alerts = []
        self.timeout = timeout
        self.wire_received = b""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(versions[0])
        context.set_max_proto_version(versions[1])
        context.set_info_callback(self._on_info)
        if ciphers:
            context.set_cipher_list(ciphers)
        if keylog:
            context.set_keylog_callback(lambda _conn, line: append_line(keylog, line))
        if ca_file:
            context.load_verify_locations(ca_file)
            context.set_verify(SSL.VERIFY_PEER, lambda _c, _cert, _err, _depth, ok: bool(ok))
        self.tls = SSL.Connection(context, None)
        if alpn:
            self.tls.set_alpn_protos(list(alpn))
        if server_name:
            self.tls.set_tlsext_host_name(server_name.encode())
        if session:
            self.tls.set_session(session)
        self.tls.set_connect_state()
        self.socket = socket.create_connection((address, port), timeout, source)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends the TCP connection with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _on_info(self, _connection, where, value):
        if where & SSL_CB_READ_ALERT == SSL_CB_READ_ALERT:
            self.alerts.append(value & 0xFF)

    def pending_wire(self):
        """The TLS octets that wait to be sent."""
        out = b""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                out += self.tls.bio_read(65536)
        return out

    def flush(self, segment=None):
        """Sends what TLS has made; segment: so many octets per TCP send."""
        out = self.pending_wire()
        for i in range(0, len(out), segment or max(len(out), 1)):
            self.socket.sendall(out[i : i + (segment or len(out))])

    def _feed(self, deadline):
        """Takes octets from TCP into TLS. False at the end of the stream."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.socket], [], [], left)[0]:
            raise TimeoutError("no octets from the server")
        octets = self.socket.recv(65536)
        if not octets:
            return False
        self.wire_received += octets
        self.tls.bio_write(octets)
        return True

    def handshake(self, segment=None):
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                self.tls.do_handshake()
                self.flush(segment)
                return self
            except SSL.WantReadError:
                self.flush(segment)
                if not self._feed(deadline):
                    raise TlsFailure("TCP ended during the handshake", self.alerts) from None
            except SSL.Error as error:
                with contextlib.suppress(OSError):
                    self.flush()
                raise TlsFailure(f"handshake: {error}", self.alerts) from None

    def send(self, data, tls_record=None, segment=None):
        """tls_record: so many octets per TLS record; segment: so many per TCP send."""
        step = tls_record or max(len(data), 1)
        for i in range(0, len(data), step):
            self.tls.send(data[i : i + step])
            self.flush(segment)

    def send_close_notify(self):
        with contextlib.suppress(SSL.Error):
            self.tls.shutdown()
        self.flush()

    def half_close(self):
        """TCP FIN, without a close_notify."""
        self.socket.shutdown(socket.SHUT_WR)

    def receive(self, timeout=None):
        """Everything until the connection ends."""
        stream = Stream()
        began = time.monotonic()
        deadline = began + (timeout or self.timeout)
        try:
            while not stream.eof:
                self._drain(stream)
                try:
                    stream.eof = not self._feed(deadline)
                except ConnectionResetError:
                    stream.reset = stream.eof = True
            self._drain(stream)
        except TimeoutError:
            pass
        stream.elapsed = time.monotonic() - began
        return stream

    def _drain(self, stream):
        try:
            while True:
                stream.data += self.tls.recv(65536)
        except SSL.WantReadError:
            return
        except SSL.ZeroReturnError:
            stream.close_notify = True
        except SSL.Error as error:
            raise TlsFailure(f"session: {error}", self.alerts) from None

    def export(self, aead, server_to_client, length):
        context = exporter_context(aead, server_to_client)
        return self.tls.export_keying_material(EXPORTER_LABEL, length, context)


def append_line(path, line):
    with open(path, "ab") as f:
        f.write(line + b"\n")


@dataclass
class KeResult:
    """A whole NTS-KE exchange, as seen by the client."""

    stream: Stream
    records: list
    client: TlsClient

    def of(self, type_):
        return [r for r in self.records if r.type == type_]

    def one(self, type_):
        found = self.of(type_)
        assert len(found) == 1, f"{len(found)} records of type {type_} in {self.records}"
        return found[0]

    @property
    def error(self):
        """The code of the Error record, or None."""
        found = self.of(ERROR)
        return found[0].words()[0] if found else None

    @property
    def aead(self):
        chosen = self.one(AEAD).words()
        return chosen[0] if chosen else None

    @property
    def cookies(self):
        return [r.body for r in self.of(NEW_COOKIE)]

    @property
    def port(self):
        found = self.of(PORT)
        return found[0].words()[0] if found else None

    def association(self, exporter_aead=None):
        """Keys and cookies. exporter_aead: goes into the exporter's context; default: the AEAD."""
        aead = self.aead
        context = exporter_aead or aead
        keys = [self.client.export(context, s2c, KEY_LENGTH[aead]) for s2c in (False, True)]
        return Association(aead, keys[0], keys[1], list(self.cookies))


def key_exchange(address, port, request, tls_record=None, segment=None, **tls):
    """Sends the octets of a request, takes everything that comes, closes."""
    with TlsClient(address, port, **tls) as client:
        client.handshake()
        client.send(request, tls_record, segment)
        stream = client.receive()
        return KeResult(stream, stream.records(), client)


# --- NTP packets -----------------------------------------------------------------------------------

HEADER_LENGTH = 48
UID, COOKIE, PLACEHOLDER, AUTHENTICATOR = 0x0104, 0x0204, 0x0304, 0x0404
UNKNOWN_FIELD = 0x2323
UNIX_TO_NTP = 2208988800


def pad4(data):
    return data + bytes(-len(data) % 4)


def ntp_to_unix(timestamp, now=None):
    """Seconds since 1970 of a 64-bit NTP timestamp, in the era next to `now`."""
    now = time.time() if now is None else now
    seconds = timestamp / 2**32 - UNIX_TO_NTP
    return seconds + round((now - seconds) / 2**32) * 2**32


@dataclass
class Header:
    leap: int = 0
    version: int = 4
    mode: int = 3
    stratum: int = 0
    poll: int = 0
    precision: int = 0
    root_delay: int = 0
    root_dispersion: int = 0
    reference_id: bytes = bytes(4)
    reference: int = 0
    origin: int = 0
    receive: int = 0
    transmit: int = 0

    FORMAT = ">BBbbII4sQQQQ"

    def pack(self):
        first = self.leap << 6 | self.version << 3 | self.mode
        return struct.pack(self.FORMAT, first, self.stratum, self.poll, self.precision, self.root_delay,
                           self.root_dispersion, self.reference_id, self.reference, self.origin,
                           self.receive, self.transmit)

    @classmethod
    def parse(cls, packet):
        first, *rest = struct.unpack(cls.FORMAT, packet[:HEADER_LENGTH])
        return cls(first >> 6, first >> 3 & 7, first & 7, *rest)


def plain_request(version=4, mode=3, transmit=None, **fields):
    transmit = random.getrandbits(64) if transmit is None else transmit
    return Header(version=version, mode=mode, transmit=transmit, **fields).pack()


def field(type_, body, length=None):
    """An extension field. length: what its header says, when that shall not be the truth."""
    body = pad4(body)
    return struct.pack(">HH", type_, 4 + len(body) if length is None else length) + body


@dataclass
class Field:
    type: int
    offset: int
    body: bytes


def parse_fields(octets, offset=0, min_length=16):
    """Fields that must fill the octets exactly. offset: what the fields' offsets count from."""
    fields = []
    while octets:
        assert len(octets) >= 4, f"rest {octets.hex()} is not a field"
        type_, length = struct.unpack(">HH", octets[:4])
        assert length % 4 == 0 and min_length <= length <= len(octets), f"field length {length}"
        fields.append(Field(type_, offset, octets[4:length]))
        octets, offset = octets[length:], offset + length
    return fields


def authenticator(aead, key, ad, plaintext=b"", nonce=None, padding=None, nonce_length=None,
                  ciphertext_length=None, corrupt=False, length=None, truncate=0):
    """An NTS Authenticator field over `ad`.

    nonce: default N_REQ random octets. padding: additional padding, default what N_REQ asks for.
    nonce_length, ciphertext_length: what the field says, when that shall not be the truth.
    corrupt: spoil the tag. length: what the field's header says. truncate: octets off the body's end.
    """
    required = NONCE_LENGTH[aead]
    nonce = os.urandom(required) if nonce is None else nonce
    ciphertext = seal(aead, key, nonce, ad, plaintext)
    if corrupt:
        ciphertext = ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])
    if padding is None:
        padding = max(0, required - len(pad4(nonce)))
    said_nonce = len(nonce) if nonce_length is None else nonce_length
    said_ciphertext = len(ciphertext) if ciphertext_length is None else ciphertext_length
    body = struct.pack(">HH", said_nonce, said_ciphertext) + pad4(nonce) + pad4(ciphertext) + bytes(padding)
    return field(AUTHENTICATOR, body[: len(body) - truncate], length)


@dataclass
class Association:
    """What a client keeps between packets."""

    aead: int
    c2s: bytes
    s2c: bytes
    cookies: list = dataclass_field(default_factory=list)

    def take(self):
        return self.cookies.pop(0)


@dataclass
class Request:
    packet: bytes
    uid: bytes
    transmit: int
    association: Association
    placeholders: int = 0


def nts_request(association, cookie=None, uid=None, placeholders=0, before=b"", between=b"", after=b"",
                header=None, uid_fields=None, cookie_fields=None, placeholder_fields=None, key=None,
                order="ucp", plaintext=b"", **authenticator_options):
    """A request, correct unless told otherwise.

    before, between: octets before the unique identifier and before the authenticator; after: behind it.
    uid_fields, cookie_fields, placeholder_fields: the octets to use instead of one correct field each.
    order: of (u)nique identifier, (c)ookie and (p)laceholders. key: instead of the C2S key.
    """
    uid = os.urandom(32) if uid is None else uid
    if cookie is None and cookie_fields is None:
        cookie = association.take()
    header = header or Header(transmit=random.getrandbits(64))
    if cookie_fields is None:
        cookie_fields = field(COOKIE, cookie)
    if placeholder_fields is None:
        placeholder_fields = field(PLACEHOLDER, bytes(len(cookie or b""))) * placeholders
    parts = {"u": field(UID, uid) if uid_fields is None else uid_fields, "c": cookie_fields,
             "p": placeholder_fields}
    packet = header.pack() + before + b"".join(parts[p] for p in order) + between
    packet += authenticator(association.aead, key or association.c2s, packet, plaintext,
                            **authenticator_options)
    return Request(packet + after, uid, header.transmit, association, placeholders)


@dataclass
class Reply:
    """An authenticated reply, every rule of RFC 8915 section 5.7 checked."""

    packet: bytes
    header: Header
    fields: list
    nonce: bytes
    cookies: list
    inner: list


def split_authenticator(body):
    nonce_length, ciphertext_length = struct.unpack(">HH", body[:4])
    start = 4 + nonce_length + (-nonce_length % 4)
    assert start + ciphertext_length <= len(body), "authenticator lengths exceed the field"
    return body[4 : 4 + nonce_length], body[start : start + ciphertext_length]


def check_reply(packet, request):
    """Takes a reply apart, or fails the test. Adds its cookies to the association."""
    assert len(packet) <= len(request.packet), f"reply {len(packet)} > request {len(request.packet)}"
    header = check_header(packet, request.transmit)
    fields = parse_fields(packet[HEADER_LENGTH:], HEADER_LENGTH)
    assert fields, "an NTS request got a bare header"
    assert fields[0].type == UID and fields[0].body == pad4(request.uid), "unique identifier first"
    assert [f.type for f in fields].count(UID) == 1
    assert fields[-1].type == AUTHENTICATOR, f"no authenticator last, stratum {header.stratum} " \
                                             f"{header.reference_id}"
    assert [f.type for f in fields].count(AUTHENTICATOR) == 1
    assert all(f.type not in (COOKIE, PLACEHOLDER) for f in fields), "cookies belong inside"
    nonce, ciphertext = split_authenticator(fields[-1].body)
    association = request.association
    plaintext = open_sealed(association.aead, association.s2c, nonce, packet[: fields[-1].offset],
                            ciphertext)
    inner = parse_fields(plaintext, min_length=4)
    cookies = [f.body for f in inner if f.type == COOKIE]
    association.cookies += cookies
    return Reply(packet, header, fields, nonce, cookies, inner)


def check_header(packet, transmit):
    assert len(packet) >= HEADER_LENGTH
    header = Header.parse(packet)
    assert header.mode == 4
    assert header.origin == transmit, "origin is not our transmit timestamp"
    return header


def is_nak(packet, transmit):
    header = check_header(packet, transmit)
    return header.stratum == 0 and header.reference_id == b"NTSN"


def check_nak(packet, request):
    """RFC 8915, section 5.7, and what this server promises beyond it."""
    assert len(packet) <= len(request.packet), "NAK longer than the request"
    header = check_header(packet, request.transmit)
    assert (header.leap, header.stratum, header.reference_id) == (3, 0, b"NTSN"), header
    fields = parse_fields(packet[HEADER_LENGTH:], HEADER_LENGTH)
    assert [(f.type, f.body) for f in fields] == [(UID, pad4(request.uid))], "NAK: the identifier, no more"
    return header


# --- UDP -------------------------------------------------------------------------------------------


class NtpSocket:
    """One client address. Replies are taken from anywhere: `last_source` says whence."""

    def __init__(self, address, port, source=None):
        self.target = (address, port)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        if source:
            self.socket.bind((source, 0))
        self.last_source = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, packet):
        self.socket.sendto(packet, self.target)

    def receive(self, timeout=5.0):
        """The next datagram, or None."""
        if not select.select([self.socket], [], [], timeout)[0]:
            return None
        packet, self.last_source = self.socket.recvfrom(65536)
        return packet

    def exchange(self, packet, timeout=5.0):
        self.send(packet)
        reply = self.receive(timeout)
        assert reply is not None, f"no reply to {packet.hex()}"
        return reply

    def replies(self, packet):
        """All replies to a packet: what arrives before the reply to a plain request sent behind it.

        One socket is served by one shard, in order, so silence needs no long wait.
        """
        return self.replies_to_all([packet])

    def replies_to_all(self, packets, sentinels=1):
        """As replies(). sentinels: how many plain requests in turn may stay without a reply, where some are lost."""
        for packet in packets:
            self.send(packet)
        found = []
        transmits = []  # of the sentinels
        for _ in range(sentinels):
            sentinel = plain_request()
            transmits.append(sentinel[40:48])
            self.send(sentinel)
            while (reply := self.receive(5.0 / sentinels)) is not None:
                if reply[24:32] in transmits:
                    found += iter(lambda: self.receive(0.005), None)
                    return [late for late in found if late[24:32] not in transmits]
                found.append(reply)
        raise AssertionError("the server no longer answers plain requests")

    def plain(self, **options):
        packet = plain_request(**options)
        reply = self.exchange(packet)
        return check_header(reply, struct.unpack(">Q", packet[40:48])[0])

    def nts(self, association, **options):
        request = nts_request(association, **options)
        return check_reply(self.exchange(request.packet), request)


def flip(packet, bit):
    """The packet with one bit changed."""
    out = bytearray(packet)
    out[bit // 8] ^= 0x80 >> bit % 8
    return bytes(out)


def subsets(values):
    return itertools.chain.from_iterable(
        itertools.combinations(values, n) for n in range(1, len(values) + 1))
