"""Another host for a daemon: a network namespace at the end of a veth pair.

All of them have the same addresses; which one a port is on tells the way there (policy routing)."""
import ctypes
import itertools
import subprocess

CLONE_NEWNET = 0x40000000
SERVER, SERVER6, CLIENT, CLIENT6 = "192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"
MORE_SERVERS = ("192.0.2.201", "192.0.2.202")
_numbers = itertools.count(1)


def run(*words, **options):
    done = subprocess.run([str(w) for w in words], text=True, capture_output=True, **options)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stderr}"
    return done.stdout


def enter_new_namespace():
    """This process and its children, from here on. It is 192.0.2.2 to .99, and 2001:db8::2."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare: no network namespace; run this as root")
    for name in ("all", "default"):
        run("sysctl", "-q", "-w", f"net.ipv4.conf.{name}.rp_filter=0")
    run("ip", "link", "set", "lo", "up")
    addresses = [f"192.0.2.{n}/32" for n in range(2, 100)] + [f"{CLIENT6}/128"]
    run("ip", "-batch", "-", input="".join(f"address add {a} dev lo\n" for a in addresses))


class Veth:
    """One such host, and the way to it; made in the namespace that this process entered."""

    interface = "server"  # the host's

    def __init__(self, ports=(), queues=1):
        self.number = next(_numbers)
        self.device = f"client{self.number}"
        self.keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
                                       stdout=subprocess.PIPE)
        self.keeper.stdout.readline()
        self.wrapper = ["nsenter", f"--net=/proc/{self.keeper.pid}/ns/net"]  # before a command: it runs on the host
        queues = ["numrxqueues", queues, "numtxqueues", queues]
        run("ip", "link", "add", self.device, *queues, "type", "veth",
            "peer", "name", self.interface, *queues, "netns", self.keeper.pid)
        # Checksums as a network card delivers them: the offload would leave them to the other end.
        run("ethtool", "-K", self.device, "tx", "off")
        run("ip", "address", "add", f"{CLIENT6}/128", "dev", self.device, "nodad")  # neighbour discovery is per device
        run("ip", "link", "set", self.device, "up")
        host = [f"address add {a}/24 dev server" for a in (SERVER, *MORE_SERVERS)]
        host += [f"address add {SERVER6}/64 dev server nodad", "link set lo up", "link set server up"]
        self.inside("ip", "-batch", "-", input="\n".join(host) + "\n")
        for to, source in ((SERVER, CLIENT), *((a, CLIENT) for a in MORE_SERVERS), (SERVER6, CLIENT6)):
            run("ip", "route", "add", to, "dev", self.device, "src", source, "table", self.number)
        for family in ("-4", "-6"):
            for which in (("oif", self.device), *(("dport", port) for port in ports)):
                run("ip", family, "rule", "add", *which, "lookup", self.number)

    def inside(self, *words, **options):
        return run(*self.wrapper, *words, **options)

    def close(self):
        """With the last process the namespace goes, and with it the pair."""
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdout.close()
