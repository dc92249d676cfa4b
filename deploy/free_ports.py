"""Prints, for each port given, the first one from there on that is free for TCP and UDP on loopback, and then
"yes" or "no": whether loopback has IPv6."""
import socket
import sys


def bind(family, kind, address, port):
    with socket.socket(family, kind) as s:
        if kind == socket.SOCK_STREAM:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, port))


def has_ipv6():
    try:
        bind(socket.AF_INET6, socket.SOCK_STREAM, "::1", 0)
        return True
    except OSError:
        return False


def is_free(port, families):
    try:
        for family, address in families:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                bind(family, kind, address, port)
        return True
    except OSError:
        return False


def main():
    ipv6 = has_ipv6()
    families = [(socket.AF_INET, "127.0.0.1")] + [(socket.AF_INET6, "::1")] * ipv6
    found = []
    for first in map(int, sys.argv[1:]):
        found.append(next(p for p in range(first, 65536) if p not in found and is_free(p, families)))
    print(*found, "yes" if ipv6 else "no")


main()
