"""Two servers must never answer each other, or one forged packet would keep them busy for ever."""
import socket
import struct

import ntslib as nts
import pytest
from peers import verdicts

ETH_P_ALL, PACKET_OUTGOING = 0x0003, 4


def checksum(octets):
    total = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def send_forged(packet, source_port, target_port):
    """A UDP datagram over loopback that claims to come from another port's owner."""
    udp = struct.pack(">HHHH", source_port, target_port, 8 + len(packet), 0) + packet
    address = socket.inet_aton("127.0.0.1")
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0, address, address)
    header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        s.sendto(header + udp, ("127.0.0.1", 0))


class Wire:
    """Counts the datagrams between two UDP ports of loopback."""

    def __init__(self, *ports):
        self.ports = set(ports)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind(("lo", 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def datagrams(self, expected):
        """[(source port, target port, payload)] until so many came and then silence for 0.3 s; at most 100."""
        seen = []
        try:
            while len(seen) < 100:
                self.socket.settimeout(0.3 if len(seen) >= expected else 5)
                frame, (_, _, kind, *_) = self.socket.recvfrom(65536)
                if kind == PACKET_OUTGOING or frame[23:24] != bytes([socket.IPPROTO_UDP]):
                    continue
                source, target = struct.unpack(">HH", frame[34:38])
                if {source, target} == self.ports:
                    seen.append((source, target, frame[42:]))
        except socket.timeout:
            pass
        return seen


@pytest.fixture(scope="module")
def pair(certificates, tmp_path_factory):
    import daemon as daemons

    with daemons.Daemon(tmp_path_factory.mktemp("one"), certificates) as one:
        with daemons.Daemon(tmp_path_factory.mktemp("two"), certificates) as two:
            yield one, two


def conversation(pair, packet, answers=0):
    """What passes between the two after one received a packet in the other's name; without that packet."""
    one, two = pair
    with Wire(one.ntp_port, two.ntp_port) as wire:
        send_forged(packet, two.ntp_port, one.ntp_port)
        seen = wire.datagrams(1 + answers)
    assert seen and seen[0][2] == packet, "the forged packet did not arrive"
    return seen[1:]


@pytest.mark.parametrize("version", range(8))
@pytest.mark.parametrize("mode", range(8))
def test_a_forged_packet_gets_one_answer_at_most(pair, version, mode):
    packet = bytearray(nts.plain_request(version=4, mode=3))
    packet[0] = version << 3 | mode
    expected = int((mode == 3 and 1 <= version <= 4) or (mode == 0 and version == 1))
    answers = conversation(pair, bytes(packet), expected)
    assert len(answers) == expected, answers


def test_a_forged_nts_request_gets_one_nak(pair):
    association = nts.Association(nts.SIV256, bytes(32), bytes(32), [bytes(100)])
    request = nts.nts_request(association)
    answers = conversation(pair, request.packet, 1)
    assert len(answers) == 1
    nts.check_nak(answers[0][2], request)


def test_replies_and_naks_of_the_one_do_not_move_the_other(pair):
    one, two = pair
    with two.ntp() as s:
        plain = s.exchange(nts.plain_request())
        nak = s.exchange(nts.nts_request(nts.Association(nts.SIV256, bytes(32), bytes(32), [bytes(100)])).packet)
    before = verdicts(one, "dropped_mode")
    for packet in (plain, nak):
        assert conversation(pair, packet) == []
    one.expect_verdict("dropped_mode", before + 2)
