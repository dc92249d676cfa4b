"""AF_XDP: what it takes, what it leaves to the kernel, and what becomes of the interface. Each daemon is on a host of its own
(conftest.py); the conformance tests run there too."""
import contextlib
import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

import daemon as daemons
import ntslib as nts
import veth
from daemon import HOST, HOST6, ours, wait_for
from ntsload import load

sys.path.append(os.path.join(daemons.ROOT, "tests", "interop"))
from peers import Chrony, Ntpsec  # noqa: E402

ETH_IPV4, ETH_IPV6, ETH_VLAN = 0x0800, 0x86DD, 0x8100


# --- Frames ----------------------------------------------------------------------------------------


def checksum(octets):
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets[: len(octets) & ~1]))
    total += octets[-1] << 8 if len(octets) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(source, destination, port, payload, source_port=40000):
    """A UDP datagram with its checksum; addresses as octets."""
    length = 8 + len(payload)
    pseudo = source + destination + struct.pack("!HH", 17, length)
    right = checksum(pseudo + struct.pack("!HHHH", source_port, port, length, 0) + payload)
    return struct.pack("!HHHH", source_port, port, length, right or 0xFFFF) + payload


def ipv4(source, destination, content, flags=0):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, flags, 64, 17, 0) + source + destination
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + content


class Wire:
    """Raw frames to the daemon's host."""

    def __init__(self, d):
        self.port = d.ntp_port
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((d.host.device, 0))
        self.own = self.mac(subprocess.run(["ip", "link", "show", d.host.device], capture_output=True, text=True).stdout)
        self.there = self.mac(d.host.inside("ip", "link", "show", "server"))

    @staticmethod
    def mac(text):
        return bytes.fromhex(re.search(r"link/ether (\S+)", text)[1].replace(":", ""))

    def send(self, content, kind=ETH_IPV4, to=None):
        self.socket.send((to or self.there) + self.own + struct.pack("!H", kind) + content)

    def request(self, source=None, source_port=40000, destination=HOST):
        a, b = socket.inet_aton(source or ours(3)), socket.inet_aton(destination)
        return ipv4(a, b, udp(a, b, self.port, nts.plain_request(), source_port))


def counted_after(d, act, metric="timeball_xdp_taken_total"):
    """How much the metric grew by what was done and a request after it, which proves that everything before was seen."""
    before = d.metric(metric)
    act()
    with d.ntp() as s:
        assert s.exchange(nts.plain_request())
    wanted = 1 if metric == "timeball_xdp_taken_total" else 0
    with contextlib.suppress(AssertionError):  # a shard tells of a batch behind its replies
        wait_for(lambda: d.metric(metric) > before + wanted, 1)
    return d.metric(metric) - before - wanted


def answers(d, address=None):
    with d.ntp(address) as s:
        s.send(nts.plain_request())
        return s.receive(2)


# --- What it serves --------------------------------------------------------------------------------


def test_requests_go_past_the_sockets(daemon, association):
    for address in (HOST, HOST6):
        assert counted_after(daemon, lambda a=address: [answers(daemon, a) for _ in range(5)]) == 5
    with daemon.ntp() as s:
        assert counted_after(daemon, lambda: s.nts(association())) == 1
    assert daemon.metric("timeball_xdp_serving") == 1
    assert daemon.metric("timeball_xdp_strays_total") == 0
    assert '"io":"xdp"' in daemon.get("/api/v1/status")[1].replace(" ", "")


def test_what_the_kernel_does_is_undisturbed(daemon):
    """ICMP, address resolution of both families, NTS-KE, and TCP like ssh."""
    for _ in range(2):
        for target in (HOST, HOST6):
            veth.run("ping", "-c", "1", "-W", "2", "-I", daemon.host.device, target)
        veth.run("ip", "neigh", "flush", "dev", daemon.host.device)
        daemon.host.inside("ip", "neigh", "flush", "dev", "server")
    assert daemon.associate().cookies and daemon.associate(address=HOST6).cookies
    echo = "import socket; s = socket.create_server(('0.0.0.0', 2222)); print(flush=True); c, _ = s.accept(); c.sendall(c.recv(99))"
    with subprocess.Popen([*daemon.host.wrapper, "/usr/bin/python3", "-c", echo], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, daemon.host.device.encode())
            s.connect((HOST, 2222))
            s.sendall(b"still here")
            assert s.recv(99) == b"still here"


@pytest.mark.parametrize("client", [Chrony, Ntpsec])
def test_other_peoples_clients(daemon, certificates, tmp_path, client):
    before = daemon.metric("timeball_xdp_taken_total")
    with client(tmp_path, daemon.ke_port, certificates.ca, HOST) as peer:
        wait_for(peer.synchronised, 60, lambda: f"synchronised; its log:\n{peer.log()}")
    assert daemon.metric("timeball_xdp_taken_total") - before >= 4
    assert daemon.verdict("answered_nts") >= 4


def test_ip_options_and_fragments_are_answered_through_the_kernel(daemon):
    def options():
        with daemon.ntp() as s:
            s.socket.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([1, 1, 1, 0]))  # NOP, end of options
            assert s.exchange(nts.plain_request())

    def fragments():
        association = daemon.associate()
        veth.run("ip", "route", "change", HOST, "dev", daemon.host.device, "src", veth.CLIENT, "mtu", 600, "table",
                 daemon.host.number)
        with daemon.ntp() as s:
            s.socket.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: never DF
            request = nts.nts_request(association, placeholders=6)
            assert len(request.packet) > 600
            nts.check_reply(s.exchange(request.packet), request)

    assert counted_after(daemon, options) == 0
    assert counted_after(daemon, fragments) == 0


@pytest.mark.parametrize("name", ["a VLAN", "another MAC", "broadcast MAC", "own source", "multicast source", "loopback source",
                                  "no source", "port 0", "another port", "another address", "a fragment"])
def test_left_to_the_kernel(daemon, name):
    wire = Wire(daemon)
    a, b = socket.inet_aton(ours(3)), socket.inet_aton(HOST)
    content = udp(a, b, wire.port, nts.plain_request())
    frames = {
        "a VLAN": lambda: wire.send(struct.pack("!HH", 7, ETH_IPV4) + wire.request(), ETH_VLAN),
        "another MAC": lambda: wire.send(wire.request(), to=bytes.fromhex("02aabbccddee")),
        "broadcast MAC": lambda: wire.send(wire.request(), to=bytes(6 * [255])),
        "own source": lambda: wire.send(wire.request(source=HOST)),
        "multicast source": lambda: wire.send(wire.request(source="224.0.1.1")),
        "loopback source": lambda: wire.send(wire.request(source="127.0.0.1")),
        "no source": lambda: wire.send(wire.request(source="0.0.0.0")),
        "port 0": lambda: wire.send(wire.request(source_port=0)),
        "another port": lambda: wire.send(ipv4(a, b, udp(a, b, 9, b"x"))),
        "another address": lambda: wire.send(wire.request(destination="198.51.100.1")),
        "a fragment": lambda: wire.send(ipv4(a, b, content[:32], flags=0x2000)),
    }
    assert counted_after(daemon, frames[name]) == 0
    assert counted_after(daemon, lambda: wire.send(wire.request())) == 1, "the frames are good otherwise"


def test_wrong_checksums_are_dropped_and_counted(daemon):
    wire = Wire(daemon)
    # Without those that the bad checksum of UDP would turn to 0, which says that there is none.
    good = next(r for r in iter(wire.request, None) if r[26:28] != b"\x10\0")
    for position in (10, 26, len(good) - 1):  # of IP, of UDP, the payload
        bad = bytearray(good)
        bad[position] ^= 0x10
        answered = daemon.verdict("answered_plain")
        assert counted_after(daemon, lambda b=bytes(bad): wire.send(b), "timeball_xdp_bad_checksum_total") == 1
        daemon.expect_verdict("answered_plain", answered + 1)  # counted_after's own
    a, b = socket.inet_aton(ours(3)), socket.inet_aton(HOST)
    unchecked = bytearray(udp(a, b, wire.port, nts.plain_request()))
    unchecked[6:8] = b"\0\0"
    answered = daemon.verdict("answered_plain")
    assert counted_after(daemon, lambda: wire.send(ipv4(a, b, bytes(unchecked)))) == 1
    daemon.expect_verdict("answered_plain", answered + 2)


def test_lengths_that_lie_are_dropped_and_counted(daemon):
    wire = Wire(daemon)
    a, b = socket.inet_aton(ours(3)), socket.inet_aton(HOST)
    for length in (7, 8 + 49, 65535):
        content = bytearray(udp(a, b, wire.port, nts.plain_request()))
        content[4:6] = struct.pack("!H", length)
        assert counted_after(daemon, lambda c=bytes(content): wire.send(ipv4(a, b, c)), "timeball_xdp_malformed_total") == 1


def test_the_load_generator_past_the_sockets(daemon):
    veth.run("ip", "neigh", "flush", "all")  # every host has this address: the one asked last is meant
    run = load("ntp", f"{HOST}:{daemon.ke_port}", "--io", "xdp", "--window", 16, "--associations", 4, "--aead", 15,
               "--duration", "500ms", "--warm-up", "0s", "--reply-timeout", "10s")
    assert run.status == 0 and run.report["loss"] == 0 and run.report["done"] >= 16, run
    assert "xdp" not in veth.run("ip", "link", "show", daemon.host.device)
    run = load("ntp", f"[{HOST6}]:{daemon.ntp_port}", "--plain", "--io", "xdp", "--window", 1, "--duration", "100ms")
    assert run.status != 0 and "--io xdp needs the server's IPv4 address" in run.err, run


# --- The interface ---------------------------------------------------------------------------------


def attached(d):
    return "xdp" in d.host.inside("ip", "link", "show", "server")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT])
def test_the_interface_is_left_clean(start, end):
    d = start({"ntp.xdp_mode": "generic"} if end == signal.SIGTERM else {}).start()
    assert attached(d)
    d.process.send_signal(end)
    d.process.wait(20)
    d.process = None
    wait_for(lambda: not attached(d), what="no program on the interface")
    with d:
        assert answers(d) and attached(d)


def refusal(d):
    d.spawn()
    assert d.process.wait(20) == 1
    d.process = None
    lines = [line for line in d.log().splitlines() if line.startswith("timeballd: ")]
    assert len(lines) == 1, d.log()
    return lines[0]


def test_second_instance_is_told_why(daemon, start):
    d = start()
    d.wrapper = list(daemon.host.wrapper)
    assert "another XDP program is attached there, perhaps another timeballd's" in refusal(d)
    assert answers(daemon) and attached(daemon)


def test_without_rights_or_interface_one_line(start):
    d = start()
    d.wrapper += ["setpriv", "--bounding-set=-net_admin,-sys_admin,-bpf,-perfmon", "--inh-caps=-all"]
    assert "it needs CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON and CAP_NET_RAW" in refusal(d)
    assert 'no network interface "eth77"' in refusal(start({"ntp.xdp_interfaces": ["eth77"]}))


@contextlib.contextmanager
def shards_stopped(d):
    """By ptrace(2): these threads alone."""
    libc, seize, interrupt, detach = ctypes.CDLL(None, use_errno=True), 0x4206, 0x4207, 17
    found = d.threads("shard", 2)
    for thread in found:
        for request in (seize, interrupt):
            assert libc.ptrace(request, thread, None, None) == 0, os.strerror(ctypes.get_errno())
        os.waitpid(thread, 0x40000000)  # __WALL
    try:
        yield
    finally:
        for thread in found:
            libc.ptrace(detach, thread, None, None)


def test_sockets_take_over_where_nothing_arrives(start):
    with start() as d, d.ntp() as s:
        with shards_stopped(d):
            def given_up():
                s.send(nts.plain_request())
                time.sleep(0.1)
                return d.metric("timeball_xdp_serving") == 0
            wait_for(given_up, 20, "the watchdog")
        assert "no socket receives them; sockets serve the interface from now on" in d.log()
        wait_for(lambda: d.metric("timeball_alarm", alarm="xdp-fallback") == 1, what="the alarm")
        assert counted_after(d, lambda: answers(d)) == -1  # not even the last request of it
        with d.restart().ntp() as again:
            assert again.exchange(nts.plain_request())
        assert d.metric("timeball_xdp_serving") == 1


def test_survives_link_down_and_up_and_another_mtu(start):
    with start() as d:
        for _ in range(2):
            d.host.inside("ip", "link", "set", "server", "down")
            assert not answers(d)
            d.host.inside("ip", "link", "set", "server", "up")
            wait_for(lambda: answers(d), what="an answer after the link came back")
        d.host.inside("ip", "link", "set", "server", "mtu", 1400)
        assert counted_after(d, lambda: answers(d)) == 1
        assert d.metric("timeball_xdp_strays_total") == 0


@pytest.mark.parametrize("device", ["server", "lo"])  # an anycast address, say
def test_follows_the_addresses_of_the_host(start, device):
    with start() as d:
        d.host.inside("ip", "address", "add", "192.0.2.210/32", "dev", device)
        veth.run("ip", "route", "add", "192.0.2.210", "dev", d.host.device, "src", veth.CLIENT, "table", d.host.number)
        assert answers(d, "192.0.2.210"), "the socket answers at once"
        wait_for(lambda: counted_after(d, lambda: answers(d, "192.0.2.210")) == 1, what="AF_XDP takes it")
        d.host.inside("ip", "address", "del", "192.0.2.210/32", "dev", device)
        wait_for(lambda: counted_after(d, lambda: answers(d, "192.0.2.210")) == 0, what="AF_XDP leaves it")


def test_survives_another_number_of_queues(start):
    d = start()
    d.host.close()
    d.host = veth.Veth((d.ntp_port, d.ke_port, d.admin_port), queues=3)
    d.wrapper = list(d.host.wrapper)
    d.host.inside("ethtool", "-L", "server", "rx", 2, "tx", 2)
    with d:
        assert "2 queues" in d.log()
        d.host.inside("ethtool", "-L", "server", "rx", 3, "tx", 3)
        for _ in range(40):  # each from a port of its own, by whatever queue: the third is the kernel's
            assert answers(d)
        with pytest.raises(AssertionError, match="too low for existing zerocopy AF_XDP sockets"):
            d.host.inside("ethtool", "-L", "server", "rx", 1, "tx", 1)
        assert answers(d)


def test_the_interface_goes_away(start):
    """Nothing to serve there any more; the daemon goes on, idle, and ends in order."""
    with start() as d:
        d.host.inside("ip", "link", "del", "server")
        before = sum(map(float, open(f"/proc/{d.process.pid}/stat", encoding="ascii").read().rsplit(")")[1].split()[11:13]))
        time.sleep(1)
        after = sum(map(float, open(f"/proc/{d.process.pid}/stat", encoding="ascii").read().rsplit(")")[1].split()[11:13]))
        assert after - before < 50, "half a second of CPU time in a second: it spins"
