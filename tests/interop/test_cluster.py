"""Servers that share their master keys through etcd: any of them serves any client, whoever gave it its cookies."""
import contextlib
import os
import random
import shutil
import socket
import threading
import time

import daemon as daemons
import ntslib as nts
import pytest
from daemon import wait_for
from etcd import Etcd, Host, run
from ntsload import load
from peers import Chrony, key_exchanges

ROTATION, KEEP = 5, 9
ROUNDS = int(os.environ.get("TIMEBALL_ROUNDS", "1"))  # of everything, a minute each
CLUSTER = "lab"
NTP_PORT, KE_PORT = 123, 4460
VIRTUAL = "10.77.1.100"  # the address that clients know; it moves
NAMES = ("a", "b", "c")


def cluster_key(path):
    path.write_text(os.urandom(32).hex() + "\n")
    path.chmod(0o600)
    return str(path)


class Member(daemons.Daemon):
    """A timeballd on a host of its own."""

    def __init__(self, directory, certificates, host, settings):
        super().__init__(directory, certificates, settings, wrapper=host.wrapper)
        self.host = host
        self.ntp_port, self.ke_port = NTP_PORT, KE_PORT
        self.settings.update({"ntp.listen": [f"0.0.0.0:{NTP_PORT}"], "nts_ke.listen": [f"0.0.0.0:{KE_PORT}"]})

    def get(self, path):
        with self.host.inside():
            return super().get(path)

    def _ready(self):
        with self.host.inside():
            return super()._ready()

    def in_contact(self):
        return self.metric("timeball_cluster_in_contact") == 1

    def sequence(self):
        return self.metric("timeball_cluster_sequence")


class Load(threading.Thread):
    """Many associations, whose cookies go to any server, whichever gave them."""

    def __init__(self, host, associations, addresses):
        super().__init__()
        self.associations, self.addresses = associations, addresses
        self.answered, self.naks, self.silent = 0, [], {a: 0 for a in addresses}
        self.ending = threading.Event()
        with host.inside():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(0.2)

    def run(self):
        while not self.ending.is_set():
            self.ask(random.choice(self.associations), random.choice(self.addresses))
            time.sleep(0.002)

    def ask(self, association, address):
        # A faithful client would have run dry where nobody answered: these keep their last cookie.
        cookie = association.cookies.pop(0) if len(association.cookies) > 1 else association.cookies[0]
        request = nts.nts_request(association, cookie=cookie, placeholders=1)
        self.socket.sendto(request.packet, (address, NTP_PORT))
        try:
            reply = self.socket.recv(65536)
            while reply[24:32] != request.packet[40:48]:  # of a request given up: its server was slow
                reply = self.socket.recv(65536)
        except socket.timeout:
            self.silent[address] += 1
            return
        if nts.is_nak(reply, request.transmit):
            self.naks.append((address, daemons.cookie_key_id(cookie)))
            return
        self.answered += 1
        association.cookies = (association.cookies + nts.check_reply(reply, request).cookies)[-8:]

    def end(self):
        self.ending.set()
        self.join()
        self.socket.close()


class Cluster:
    """Three servers and three members of etcd, each a host; what etcd says does not pass by the clients' network."""

    def __init__(self, directory, stack):
        self.directory, self.stack = directory, stack
        for bridge in ("front", "back"):
            run("ip", "link", "add", bridge, "type", "bridge")
            run("ip", "link", "set", bridge, "up")
            stack.callback(run, "ip", "link", "delete", bridge)
        front = {name: f"10.77.1.{i}" for i, name in enumerate(NAMES, 1)}
        back = {f"e{i}": f"10.77.2.{10 + i}" for i in range(1, 4)}
        self.address = front
        self.hosts = {n: Host(n, front=f"{front[n]}/24", back=f"10.77.2.{i}/24") for i, n in enumerate(NAMES, 1)}
        self.hosts.update({n: Host(n, back=f"{a}/24") for n, a in back.items()})
        self.client = Host("client", front="10.77.1.200/24")
        for host in [*self.hosts.values(), self.client]:
            stack.callback(host.close)
        self.certificates = self.make_certificates("ntp", [*front.values(), VIRTUAL])
        self.etcd_certificates = self.make_certificates("tls", back.values())
        self.key = cluster_key(directory / "cluster.key")
        self.etcd = [stack.enter_context(Etcd(self.make(n), n, back, self.hosts[n].wrapper, self.etcd_certificates))
                     for n in back]
        wait_for(lambda: all(e.healthy() for e in self.etcd), 30, "etcd is up")
        self.members = {}
        for name in NAMES:
            self.start(name, stack)

    def make(self, name):
        path = self.directory / name
        path.mkdir()
        return path

    def make_certificates(self, name, addresses):
        return daemons.LabCertificates(str(self.make(name)), addresses=list(addresses))

    def start(self, name, stack):
        """A machine that has been given nothing but its configuration."""
        shutil.rmtree(self.directory / name, ignore_errors=True)
        tls = self.etcd_certificates
        member = Member(self.make(name), self.certificates, self.hosts[name], {
            "keys.provider": "etcd", "keys.rotation": f"{ROTATION}s", "keys.keep": KEEP,
            "etcd.endpoints": [e.endpoint for e in self.etcd], "etcd.cluster": CLUSTER, "etcd.key_file": self.key,
            "etcd.ca": tls.ca, "etcd.certificate": tls.chain, "etcd.private_key": tls.key})
        stack.callback(lambda: member.process and member.stop())
        self.members[name] = member.start()
        wait_for(lambda: member.metric("timeball_keys_generations") >= 2, 15, f"keys at {name}")

    def move(self, name):
        """The clients' address, to that host."""
        for host in (self.hosts[n] for n in NAMES):
            if host is not self.hosts[name] and getattr(host, "has_address", False):
                host.remove("front", f"{VIRTUAL}/24")
                host.has_address = False
        self.hosts[name].add("front", f"{VIRTUAL}/24")
        self.hosts[name].has_address = True
        self.client.run("ip", "neighbour", "flush", "dev", "front")

    def sum(self, verdict):
        return sum(m.verdict(verdict) for m in self.members.values())

    def all_in_contact(self, contact=True):
        return all(m.in_contact() == contact for m in self.members.values())

    def rotations(self, count, of=NAMES):
        goal = max(self.members[n].sequence() for n in of) + count
        wait_for(lambda: all(self.members[n].sequence() >= goal for n in of), (count + 4) * ROTATION + 20,
                 f"{count} rotations at {of}")


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def cluster(namespace, tmp_path, stack):
    return Cluster(tmp_path, stack)


def replies(client, count):
    before = client.authenticated_replies()
    wait_for(lambda: client.authenticated_replies() >= before + count, 30, f"{count} authenticated replies")


class Flood(threading.Thread):
    """ntsload at the clients' address, for as long as it takes to move it twice."""

    def __init__(self, cluster):
        super().__init__()
        self.cluster, self.report = cluster, None
        self.start()

    def run(self):
        self.report = load("ntp", f"{VIRTUAL}:{KE_PORT}", "--ca", self.cluster.certificates.ca, "--faithful",
                           "--rate", 300, "--associations", 100, "--duration", "15s", "--warm-up", "0s",
                           timeout=60, wrapper=self.cluster.client.wrapper)


def move_about(cluster, client):
    """A's cookies, at B and at C; and at a machine that knows nothing but took A's address."""
    before = key_exchanges(cluster.members["a"])
    flood = Flood(cluster)
    wait_for(lambda: key_exchanges(cluster.members["a"]) >= before + 100, 30, "the flood has its keys")
    for name in ("b", "c"):
        before = cluster.members[name].verdict("answered_nts")
        cluster.move(name)
        replies(client, 8)
        assert cluster.members[name].verdict("answered_nts") > before + 8
    flood.join()
    assert flood.report.status == 0, str(flood.report)
    assert flood.report.count("nak") == 0 and flood.report.report["done"] > 3000, flood.report
    assert cluster.members["a"].verdict("nak") == 0
    cluster.members["a"].kill()
    time.sleep(1)
    cluster.start("a", cluster.stack)
    cluster.move("a")
    replies(client, 8)


def lose_etcd(cluster, background):
    """One member of three, then all, then all back."""
    cluster.etcd[0].end()
    cluster.rotations(2)
    assert cluster.all_in_contact()
    for member in cluster.etcd[1:]:
        member.end()
    wait_for(lambda: cluster.all_in_contact(False), 20, "the alarm")
    assert all("cut off from etcd" in m.log() for m in cluster.members.values())
    before = background.answered
    wait_for(lambda: background.answered > before + 200, 20, "service goes on without etcd")
    for member in cluster.etcd:
        member.begin()
    wait_for(cluster.all_in_contact, 40, "the alarm is cleared")
    cluster.rotations(1)


def partition(cluster):
    """C hears nothing for two intervals, while A and B go on and its clients ask it."""
    c = cluster.members["c"]
    cluster.hosts["c"].link("back", up=False)
    wait_for(lambda: not c.in_contact(), 20, "C is cut off")
    cluster.rotations(2, of=("a", "b"))
    wait_for(lambda: c.verdict("dropped_newer_key") > 0, 20, "cookies that C does not know yet")
    cluster.hosts["c"].link("back", up=True)
    wait_for(c.in_contact, 30, "C is back")
    assert c.sequence() >= cluster.members["a"].sequence() - 1
    cluster.rotations(1)


def test_three_servers_are_one_to_their_clients(cluster, stack):
    with cluster.client.inside():
        associations = [cluster.members[n].associate(address=cluster.address[n]) for n in NAMES for _ in range(20)]
    background = Load(cluster.client, associations, [cluster.address[n] for n in NAMES])
    background.start()
    stack.callback(background.end)
    cluster.move("a")
    client = stack.enter_context(Chrony(cluster.make("chrony"), KE_PORT, cluster.certificates.ca, VIRTUAL,
                                        cluster.client.wrapper))
    wait_for(client.synchronised, 30, "chronyd synchronised")

    for _ in range(ROUNDS):
        move_about(cluster, client)
        lose_etcd(cluster, background)
        partition(cluster)
        replies(client, 8)

    background.end()
    assert background.naks == [] and cluster.sum("nak") == 0
    assert background.answered > 3000, (background.answered, background.silent)
    # Whoever established keys did so in the beginning.
    assert {n: key_exchanges(m) for n, m in cluster.members.items()} == {"a": 0, "b": 20, "c": 20}
    auth = client.authdata()
    assert (auth["Mode"], auth["NAK"], auth["Atmp"]) == ("NTS", 0, 0), auth
