"""These tests run in a network namespace of their own, so that other people's daemons find the ports they
insist on (NTPsec binds UDP 123) and can reach nothing but each other."""
import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import daemon as daemons  # noqa: E402

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def enter_network_namespace():
    """Only loopback from here on, for this process and its children. Without root, as root of a user namespace."""
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | (CLONE_NEWUSER if uid else 0)) != 0:
        raise OSError(ctypes.get_errno(), "unshare: no network namespace for the interoperation tests")
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class LabCertificates:
    """What `timeball cert lab` makes."""

    def __init__(self, directory):
        tool = os.path.join(daemons.BUILD, "server", "timeball")
        subprocess.run([tool, "cert", "lab", directory, "--host", "localhost", "--host", "127.0.0.1", "--host", "::1"],
                       check=True)
        self.ca, self.chain, self.key = (os.path.join(directory, f) for f in ("ca.pem", "chain.pem", "key.pem"))


@pytest.fixture(scope="session", autouse=True)
def namespace():
    enter_network_namespace()


@pytest.fixture(scope="session")
def certificates(namespace, tmp_path_factory):
    return LabCertificates(str(tmp_path_factory.mktemp("lab") / "cert"))


@pytest.fixture
def make_server(certificates, tmp_path_factory):
    """make_server(settings): a timeballd, not yet started: `with make_server() as server:`."""
    made = []

    def make(settings=None, **options):
        server = daemons.Daemon(tmp_path_factory.mktemp("server"), certificates, settings, **options)
        made.append(server)
        return server

    yield make
    for server in made:
        if server.process is not None:
            server.kill()


@pytest.fixture
def server(make_server):
    with make_server() as running:
        yield running
