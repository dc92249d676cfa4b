"""Debian's etcd, as tests/peers unpacked it: its members, and the hosts of a cluster as network namespaces."""
import contextlib
import ctypes
import json
import os
import subprocess

from daemon import wait_for
from peers import PEERS, Peer

CLONE_NEWNET = 0x40000000
BIN = PEERS / "etcd/usr/bin"


def run(*command):
    subprocess.run([str(c) for c in command], check=True)


class Host:
    """A network namespace, kept by a process that sleeps; and links from it to bridges of this one's."""

    def __init__(self, name, **addresses):
        """addresses: bridge = "IP/LENGTH"."""
        self.name = name
        self.keeper = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.namespace = f"/proc/{self.keeper.pid}/ns/net"
        wait_for(lambda: os.readlink(self.namespace) != os.readlink("/proc/self/ns/net"), what="a namespace")
        self.wrapper = ["nsenter", f"--net={self.namespace}"]
        self.run("ip", "link", "set", "lo", "up")
        for bridge, address in addresses.items():
            outside = f"{name}-{bridge}"
            run("ip", "link", "add", outside, "type", "veth", "peer", "name", bridge, "netns", self.keeper.pid)
            run("ip", "link", "set", outside, "master", bridge, "up")
            self.run("ip", "link", "set", bridge, "up")
            self.add(bridge, address)

    def run(self, *command):
        run(*self.wrapper, *command)

    def add(self, bridge, address):
        self.run("ip", "address", "add", address, "dev", bridge)

    def remove(self, bridge, address):
        self.run("ip", "address", "delete", address, "dev", bridge)

    def link(self, bridge, up):
        run("ip", "link", "set", f"{self.name}-{bridge}", "up" if up else "down")

    @contextlib.contextmanager
    def inside(self):
        """This thread is in the namespace; sockets made meanwhile stay there."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(self.namespace) as there:
            assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(home.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())

    def close(self):
        self.keeper.kill()
        self.keeper.wait()


class Etcd(Peer):
    """One member. address: where its clients and the other members reach it."""

    def __init__(self, directory, name, members, wrapper=(), tls=None):
        """members: {name: address}; tls: LabCertificates of its clients' side."""
        super().__init__(directory)
        self.name, self.address = name, members[name]
        scheme = "https" if tls else "http"
        self.endpoint = f"{self.address}:2379"
        self.url = f"{scheme}://{self.endpoint}"
        self.command = [
            *wrapper, BIN / "etcd", "--name", name, "--data-dir", self.directory / "data", "--logger", "zap",
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", f"http://{self.address}:2380",
            "--initial-advertise-peer-urls", f"http://{self.address}:2380",
            "--initial-cluster", ",".join(f"{n}=http://{a}:2380" for n, a in members.items()),
            "--heartbeat-interval", "100", "--election-timeout", "1000"]
        self.ctl = [*wrapper, BIN / "etcdctl", "--endpoints", self.url]
        if tls:
            self.command += ["--cert-file", tls.chain, "--key-file", tls.key, "--trusted-ca-file", tls.ca,
                             "--client-cert-auth"]
            self.ctl += ["--cacert", tls.ca, "--cert", tls.chain, "--key", tls.key]
        self.begin()

    def begin(self):
        self.start(self.command, {"ETCDCTL_API": "3"})

    def end(self):
        self.process.kill()
        self.process.wait()

    def ask(self, *words, user=None):
        """What etcdctl printed."""
        credentials = ["--user", user] if user else []
        done = subprocess.run([str(c) for c in [*self.ctl, *credentials, *words]], capture_output=True, text=True,
                              timeout=20, env={**os.environ, "ETCDCTL_API": "3"})
        assert done.returncode == 0, done
        return done.stdout

    def healthy(self):
        done = subprocess.run([str(c) for c in [*self.ctl, "endpoint", "health"]], capture_output=True, text=True,
                              timeout=20, env={**os.environ, "ETCDCTL_API": "3"})
        return done.returncode == 0

    def get(self, key, revision=None):
        """The value, or None."""
        words = ["get", key, "-w", "json"] + ([f"--rev={revision}"] if revision else [])
        entries = json.loads(self.ask(*words)).get("kvs")
        return entries[0] if entries else None
