"""Other people's time software, as tests/peers unpacked it: started, questioned and stopped."""
import contextlib
import datetime
import itertools
import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path

from daemon import free_port, wait_for

PEERS = Path(__file__).resolve().parents[2] / ".cache" / "peers"
# Whatever their configuration says, they cannot touch the machine's clock.
HARMLESS = ["setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time"]


def verdicts(server, verdict):
    """How many requests timeballd has decided so."""
    return int(server.metric("timeball_requests_total", verdict=verdict))


def key_exchanges(server):
    """How many NTS-KE sessions timeballd has completed since its start."""
    return int(server.metric("timeball_nts_ke_connections_total", outcome="completed"))


class Peer:
    """A program that runs in the foreground; its directory is private, as chrony demands."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.chmod(0o700)
        self.log_file = self.directory / "log"
        self.process = None

    def start(self, command, environment=None):
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen([*HARMLESS, *map(str, command)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env={**os.environ, **(environment or {})})

    def log(self):
        return self.log_file.read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Chrony(Peer):
    """chronyd as client of one NTS server, on this host unless it is said where; polls four times a second. It
    never touches the clock (-x)."""

    def __init__(self, directory, ke_port, ca, host="localhost", wrapper=()):
        super().__init__(directory)
        self.socket = self.directory / "chronyd.sock"
        configuration = self.directory / "chrony.conf"
        configuration.write_text(
            f"server {host} nts ntsport {ke_port} minpoll -2 maxpoll -2 iburst\n"
            f"ntstrustedcerts {ca}\n"
            f"ntsdumpdir {self.directory}\n"
            "cmdport 0\n"
            f"bindcmdaddress {self.socket}\n"
            f"logdir {self.directory}\n"
            "log measurements\n"
            f"pidfile {self.directory}/pid\n")
        self.start([*wrapper, PEERS / "chrony/usr/sbin/chronyd", "-d", "-x", "-u", "root", "-f", configuration])

    def ask(self, *command):
        """chronyc's rows; empty while chronyd is not ready."""
        answer = subprocess.run([PEERS / "chrony/usr/bin/chronyc", "-h", self.socket, "-c", *command],
                                capture_output=True, text=True, timeout=15)
        return [line.split(",") for line in answer.stdout.splitlines()] if answer.returncode == 0 else []

    def authdata(self):
        """{"Mode": "NTS", "Cook": 8 ...}, None while there is nothing."""
        names = ("Name", "Mode", "KeyID", "Type", "KLen", "Last", "Atmp", "NAK", "Cook", "CLen")
        rows = self.ask("authdata")
        if not rows or len(rows[0]) != len(names):
            return None
        return {name: int(value) if value.isdigit() else value for name, value in zip(names, rows[0])}

    def ntpdata(self):
        """{"Authenticated": "Yes", "Total valid RX": "20" ...}"""
        answer = subprocess.run([PEERS / "chrony/usr/bin/chronyc", "-h", self.socket, "ntpdata"],
                                capture_output=True, text=True, timeout=15)
        rows = (line.split(":", 1) for line in answer.stdout.splitlines() if ":" in line)
        return {name.strip(): value.strip() for name, value in rows}

    def measurements(self):
        """What it logged of each reply."""
        names = ("date", "time", "address", "leap", "stratum", "tests", "more", "yet_more", "poll", "interval",
                 "score", "offset", "delay", "dispersion", "root_delay", "root_dispersion")
        rows = (line.split() for line in (self.directory / "measurements.log").read_text().splitlines()
                if line[:1].isdigit())
        return [{n: v if n in ("date", "time", "address", "leap") else float(v)
                 for n, v in zip(names, row) if n not in ("tests", "more", "yet_more")} for row in rows]

    def authenticated_replies(self):
        data = self.ntpdata()
        return int(data["Total valid RX"]) if data.get("Authenticated") == "Yes" else 0

    def synchronised(self):
        """The server is the selected source and answered each of the last four polls."""
        rows = self.ask("sources")
        return bool(rows) and rows[0][1] == "*" and int(rows[0][5], 8) & 0o17 == 0o17


class Ntpsec(Peer):
    """NTPsec's ntpd as client of one NTS server, on this host unless it is said where; polls every second, disciplines nothing."""

    def __init__(self, directory, ke_port, ca, host="localhost"):
        super().__init__(directory)
        self.root = PEERS / "ntpsec"
        configuration = self.directory / "ntp.conf"
        configuration.write_text(
            "disable ntp\n"
            f"server {host}:{ke_port} nts ca {ca} minpoll 0 maxpoll 0\n"
            "restrict 127.0.0.1\n"
            "restrict ::1\n"
            f"statsdir {self.directory}/\n")
        self.start([self.root / "usr/sbin/ntpd", "-n", "-c", configuration])

    def ask(self, command):
        """What ntpq prints; empty while ntpd is not ready."""
        library = self.root / "usr/lib" / f"{os.uname().machine}-linux-gnu" / "ntp"
        environment = {**os.environ, "PYTHONPATH": str(self.root / "usr/lib/python3/dist-packages"),
                       "LD_LIBRARY_PATH": str(library)}
        return subprocess.run(["/usr/bin/python3", self.root / "usr/bin/ntpq", "-c", command, "127.0.0.1"],
                              capture_output=True, text=True, timeout=30, env=environment).stdout

    def counters(self):
        """ntsinfo: {"NTS client recvs good": 3, "NTS KE client probes good": 1 ...}"""
        return {name: int(value) for name, value in re.findall(r"^(NTS [^:]+):\s+(\d+)$", self.ask("ntsinfo"), re.M)}

    def association(self):
        """The variables of its one association: {"ntscookies": "8", "reach": "377" ...}"""
        return dict(re.findall(r"(\w+)=([^,\s]+)", self.ask("rv &1")))

    def synchronised(self):
        """The server is the system peer."""
        return bool(re.search(r"^\*", self.ask("lpeers"), re.M))


class ChronyServer(Peer):
    """chronyd as an NTS server on loopback, which says that it has the time; it never touches the clock (-x)."""

    def __init__(self, directory, ke_port, ntp_port, certificates):
        super().__init__(directory)
        configuration = self.directory / "chrony.conf"
        configuration.write_text(
            f"port {ntp_port}\n"
            f"ntsport {ke_port}\n"
            f"ntsserverkey {certificates.key}\n"
            f"ntsservercert {certificates.chain}\n"
            f"ntsdumpdir {self.directory}\n"
            "local stratum 10\n"
            "allow\n"
            "maxntsconnections 1000\n"
            "cmdport 0\n"
            f"bindcmdaddress {self.directory}/chronyd.sock\n"
            f"pidfile {self.directory}/pid\n")
        self.start([PEERS / "chrony/usr/sbin/chronyd", "-d", "-x", "-u", "root", "-f", configuration])


class Gpsd(Peer):
    """gpsd with a receiver that says what a recorded log holds, over and over: gpsfake starts it and feeds it.

    gpsfake can pause behind each packet, or where a cookie stands in the log. A receiver speaks once a second:
    so the cookie goes before every message that is a second's first, and the pause is a second. That is longer
    by what gpsfake does meanwhile, some 3 ms."""

    COOKIE = b"@second@"

    def __init__(self, directory, log, first_message):
        super().__init__(directory)
        self.port = free_port()
        self.paced = self.directory / "receiver.log"
        _, first, rest = log.read_bytes().partition(first_message)
        assert first and self.COOKIE not in rest, log
        self.paced.write_bytes(b"# Delay-Cookie: " + self.COOKIE + b" 1\n" + first +
                               rest.replace(first, self.COOKIE + first))
        self.run()

    def run(self):
        """From the first second of the log on."""
        root = PEERS / "gpsd"
        machine = f"{os.uname().machine}-linux-gnu"
        # gpsd as root writes shared memory for NTP: not this machine's.
        self.start(["unshare", "--ipc", "/usr/bin/python3", root / "usr/bin/gpsfake", "--quiet", "--port", self.port,
                    self.paced],
                   {"PYTHONPATH": str(root / "usr/lib/python3/dist-packages"), "GPSD_HOME": str(root / "usr/sbin"),
                    "LD_LIBRARY_PATH": f"{root}/usr/lib/{machine}:{root}/lib/{machine}",
                    "TMPDIR": str(self.directory)})

    def _connection(self):
        """None while it is not ready."""
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", self.port), 10)

    def pid(self):
        """gpsd's, not gpsfake's."""
        return int(subprocess.run(["pgrep", "--parent", str(self.process.pid)], capture_output=True, check=True).stdout)

    def second(self):
        """Of the next three seconds that gpsd names in full, the one we heard of soonest: its name, and the system's clock
        then; seconds since 1970."""
        seconds = []
        with wait_for(self._connection, 20, "gpsd") as connection, connection.makefile("rb") as lines:
            connection.sendall(b'?WATCH={"enable":true,"json":true};\n')
            for line in itertools.islice(lines, 100):
                now, report = time.time(), json.loads(line)
                if report["class"] == "TPV" and "time" in report and "leapseconds" in report:
                    seconds.append((datetime.datetime.fromisoformat(report["time"]).timestamp(), now))
                    if len(seconds) == 3:
                        return min(seconds, key=lambda second: second[1] - second[0])
        raise AssertionError(f"gpsd names no second:\n{self.log()}")
