"""A simulated rack (refclock-sim), a daemon that takes its time from it, and what the truth is meanwhile."""
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import daemon as daemons
import ntslib as nts

SIMULATOR = os.path.join(daemons.BUILD, "refclock", "refclock-sim")
PRELOAD = os.path.join(daemons.BUILD, "refclock", "sim", "libtimeball-pps-sim.so")
PATIENCE = 20


class SimulatedRack:
    """refclock-sim in a directory of its own."""

    def __init__(self, directory, *arguments):
        self.directory = str(directory)
        self.process = subprocess.Popen([SIMULATOR, "--directory", self.directory, *arguments],
                                        stdout=subprocess.PIPE, text=True)
        self.ready = self.process.stdout.readline()
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(self.path("control"))
        self.control.settimeout(PATIENCE)
        self.answers = self.control.makefile("r")
        self.lock = threading.Lock()

    def path(self, name):
        return os.path.join(self.directory, name)

    def ask(self, line):
        with self.lock:
            self.control.sendall(line.encode() + b"\n")
            return self.answers.readline().rstrip("\n")

    def do(self, line):
        assert self.ask(line) == "ok", line

    def status(self):
        return json.loads(self.ask("status"))

    def truth_ns(self):
        """True UTC minus the system's clock."""
        return self.status()["utc_minus_realtime_ns"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        self.control.close()
        self.process.stdout.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()

    def refclocks(self, rubidium="prs10"):
        """[[refclock]] sections for all of it."""
        sections = [{"driver": "gnss", "device": self.path("gnss")},
                    {"driver": "pps", "device": self.path("pps-gnss")}]
        if rubidium:
            sections += [{"driver": "rubidium", "device": self.path("rubidium"), "model": rubidium},
                         {"driver": "pps", "device": self.path("pps-rubidium"), "pulse": "rubidium"}]
        return sections


def environment():
    """With which a daemon takes the simulator's sockets for PPS devices."""
    return {"LD_PRELOAD": " ".join([*daemons.sanitizer_runtime(), PRELOAD])}


def state(server):
    return next((series.split('"')[1] for series, value in server.metrics().items()
                 if series.startswith("timeball_refclock_state{") and value == 1), None)


def becomes(server, wanted, timeout=60):
    deadline = time.monotonic() + timeout
    while state(server) != wanted:
        assert time.monotonic() < deadline, f"{state(server)}, and not {wanted}:\n{server.log()}"
        time.sleep(0.05)


def alarm(server, name):
    return server.metric("timeball_alarm", alarm=name) == 1


class Reading:
    """One exchange, as a client of plain NTP sees it: how wrong the server was, and what it promised."""

    def __init__(self, server, rack):
        truth = rack.truth_ns()
        with server.ntp() as s:
            t1 = time.clock_gettime_ns(time.CLOCK_REALTIME)
            packet = s.exchange(nts.plain_request())
            t4 = time.clock_gettime_ns(time.CLOCK_REALTIME)
        self.header = nts.Header.parse(packet)
        self.dispersion_ns = self.header.root_dispersion * 1e9 / 65536
        # T2 alone: T3 is a prediction of when the packet leaves, and not the clock's to promise.
        t2 = unix_ns(self.header.receive, t1)
        self.error_ns = t2 - truth - (t1 + t4) // 2
        self.margin_ns = (t4 - t1) // 2 + 1

    def kept(self):
        """Whether the promise may have been kept, as far as the way to the server lets one see."""
        return abs(self.error_ns) <= self.dispersion_ns + self.margin_ns

    def __repr__(self):
        return (f"stratum {self.header.stratum}, error {self.error_ns} ns +- {self.margin_ns}, "
                f"promised {self.dispersion_ns:.0f}")


def unix_ns(stamp, near_ns):
    """NTP timestamp to nanoseconds since 1970, in the era of near_ns."""
    ns = ((stamp >> 32) - 2208988800) * 10**9 + ((stamp & 0xFFFFFFFF) * 10**9 >> 32)
    era = 2**32 * 10**9
    return ns + round((near_ns - ns) / era) * era


class Background:
    """Does step() every so often, on a thread of its own, for as long as the `with` lasts."""

    def __init__(self, every_s):
        self._every_s, self._stop = every_s, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.wait(self._every_s):
            self.step()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


class Watch(Background):
    """Reads the server ten times a second, in the background, and keeps what it saw."""

    def __init__(self, server, rack):
        super().__init__(0.1)
        self.server, self.rack = server, rack
        self.readings = []
        self.faults = []

    def step(self):
        try:
            self.readings.append(Reading(self.server, self.rack))
        except Exception as fault:  # pylint: disable=broad-except
            self.faults.append(fault)
            self._stop.set()

    def check(self):
        assert not self.faults, self.faults
        broken = [r for r in self.readings if not r.kept()]
        assert not broken, broken[:5]
