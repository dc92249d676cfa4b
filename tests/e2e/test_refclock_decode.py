"""refclock-decode over recorded logs, against gpsd's own decode of them and against what is known of them."""
import collections
import json
import os
import subprocess
from pathlib import Path

import pytest

from receiver_logs import LOGS, log_file

BUILD = Path(os.environ.get("TIMEBALL_BUILD", Path(__file__).resolve().parents[2] / "build"))
BINARY = BUILD / "refclock" / "refclock-decode"
M8T, F9T = "u-blox-m8t-time", "ublox-zed-f9t-ubx_nmea_l5"
KNOT_M_S = 1852 / 3600


def run(*arguments, **options):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, timeout=60, **options)


def decode(name):
    done = run(log_file(name))
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


def messages(decoded, kind=None):
    return [o for o in decoded if "message" in o and "refused" not in o and kind in (None, o["message"])]


def test_logs_are_there():
    """One visible skip instead of silence."""
    if not LOGS.is_dir():
        pytest.skip(f"no recorded logs here: {LOGS}")
    assert sorted(LOGS.glob("*.log.chk"))


def names(pattern):
    return sorted(path.name.removesuffix(pattern) for path in LOGS.glob(f"*{pattern}")) or ["none"]


@pytest.mark.parametrize("name", names(".log"))
def test_every_octet_is_accounted_for(name):
    """Line ends between frames apart, the log is its frames and its refusals, in order; - is the same."""
    octets = log_file(name).read_bytes()
    decoded = decode(name)
    starts = [o["offset"] for o in decoded]
    assert starts == sorted(starts)
    for o in decoded:
        if o.get("protocol") == "nmea":
            sentence = o["sentence"].encode()
            assert octets[o["offset"]:][:len(sentence)] == sentence
        if "refused" in o:
            assert o["why"] in ("noise", "checksum", "too_long", "interrupted", "incomplete", "malformed", "length",
                                "version")
    assert run("-", input=octets).stdout == run(log_file(name)).stdout


class Gpsd:
    """What gpsd knows after each sentence of a log, from our decode of it."""

    def __init__(self):
        self.known = {}
        self.satellites = []

    def take(self, o):
        getattr(self, "take_" + o["message"].lower(), lambda _: None)(o)

    def put(self, key, value):
        if value is not None:
            self.known[key] = value

    def position(self, o):
        for key, member in (("lat", "latitude_ndeg"), ("lon", "longitude_ndeg")):
            self.put(key, round(o[member] * 1e-9, 9) if member in o else None)

    def take_rmc(self, o):
        if o.get("status") != "A":
            return
        self.position(o)
        for key, member, factor in (("speed", "speed_mknots", KNOT_M_S * 1e-3), ("track", "course_mdeg", 1e-3)):
            self.put(key, o[member] * factor if member in o else None)

    def take_gga(self, o):
        self.position(o)
        for key, member, factor in (("altMSL", "altitude_mm", 1e-3), ("geoidSep", "geoid_mm", 1e-3),
                                    ("hdop", "hdop_centi", 1e-2), ("uSat", "satellites", 1)):
            self.put(key, o[member] * factor if member in o else None)

    def take_gsa(self, o):
        for key, member in (("hdop", "hdop_centi"), ("pdop", "pdop_centi"), ("vdop", "vdop_centi")):
            self.put(key, o[member] * 1e-2 if member in o else None)
        self.put("uSat", len(o["satellites"]))

    def take_gsv(self, o):
        if o["number"] == 1:
            self.satellites = []
        self.satellites += o["satellites"]
        self.put("nSat", o["in_view"])


TOLERANCE = {"lat": 1e-8, "lon": 1e-8, "speed": 1e-3, "track": 1e-4}


def golden(name):
    """The lines of gpsd's decode: sentences as text, reports as objects."""
    lines = log_file(name).with_suffix(".log.chk").read_text(errors="replace").splitlines()
    return [json.loads(line) if line.startswith("{") else line.strip() for line in lines if line.strip()]


@pytest.mark.parametrize("name", names(".log.chk"))
def test_as_gpsd_decodes_it(name):
    """The same sentences in the same order, and the same values in every field that we have, too."""
    expected = golden(name)
    ours = messages(decode(name))
    assert [o["sentence"] for o in ours] == [line for line in expected if isinstance(line, str)]
    gpsd, compared, rest = Gpsd(), collections.Counter(), iter(ours)
    for line in expected:
        if isinstance(line, str):
            gpsd.take(next(rest))
            continue
        for key, value in line.items():
            if key in gpsd.known and (line["class"], key) != ("TPV", "mode"):
                assert gpsd.known[key] == pytest.approx(value, abs=TOLERANCE.get(key, 1e-6), rel=0), (key, line)
                compared[key] += 1
        if "satellites" in line:
            assert [(s["id"], s["elevation_deg"], s["azimuth_deg"], s.get("cn0_dbhz")) for s in gpsd.satellites] == [
                (s["PRN"], s["el"], s["az"], s.get("ss")) for s in line["satellites"]]
            compared["satellites"] += 1
    # Every report but those before our first position: that may have been in a GLL, which we have no use for.
    for key in ("lat", "lon", "speed", "track"):
        assert compared[key] >= sum(key in line for line in expected if isinstance(line, dict)) - 1 > 0, key


@pytest.mark.parametrize("name", names(".log.chk"))
def test_dates_as_gpsd_has_them(name):
    """Each of gpsd's times is that of a sentence with a date before it."""
    times, rest, date = set(), iter(messages(decode(name))), None
    for line in golden(name):
        if isinstance(line, str):
            o = next(rest)
            if o["message"] == "RMC" and "date_ddmmyy" in o:
                d = o["date_ddmmyy"]
                date = f"{d[2:4]}-{d[:2]}", d[4:]
            elif o["message"] == "ZDA" and "date" in o:
                date = o["date"][5:], o["date"][2:4]
            if "time" in o and date is not None:
                times.add((date, o["time"]))
        elif "time" in line:
            day, _, clock = line["time"].partition("T")
            clock = clock.rstrip("Z").rstrip("0").rstrip(".") if "." in clock else clock.rstrip("Z")
            assert ((day[5:], day[2:4]), clock) in times, line


def test_a_lea_m8t_in_time_mode():
    decoded = decode(M8T)
    pulses = messages(decoded, "TIM-TP")
    assert len(pulses) == 152
    assert [p["error_ps"] for p in pulses[:6]] == [-4331, 9862, 2873, -4344, 9483, 3044]
    assert (min(p["error_ps"] for p in pulses), max(p["error_ps"] for p in pulses)) == (-10158, 10086)
    assert {(p["week"], p["utc"], p["error_invalid"], p["not_locked"]) for p in pulses} == {(2146, True, False, False)}
    # Each names the next pulse: a second after the one before.
    assert {b["tow_ms"] - a["tow_ms"] for a, b in zip(pulses, pulses[1:])} == {1000}
    for kind in ("NAV-STATUS", "NAV-TIMEGPS", "NAV-TIMEUTC", "NAV-TIMELS", "NAV-DOP", "NAV-SAT", "TIM-SVIN"):
        assert len(messages(decoded, kind)) == 151, kind
    first = messages(decoded, "NAV-TIMEUTC")[0]
    assert (first["year"], first["month"], first["day"], first["hour"], first["minute"], first["second"]) == (
        2021, 2, 23, 18, 4, 29)
    assert (first["time_accuracy_ns"], first["nano_ns"], first["utc_valid"]) == (1031, 321732, True)
    # 255 is "unknown", as GLONASS leaves it.
    assert {(m["leap_source"], m["leap_s"]) for m in messages(decoded, "NAV-TIMELS")} == {(1, 18), (255, 18)}
    assert [o["why"] for o in decoded if "refused" in o] == ["incomplete"]


def test_a_zed_f9t_says_the_same_in_ubx_and_nmea():
    decoded = decode(F9T)
    counts = collections.Counter(o["message"] for o in messages(decoded))
    for kind in ("NAV-PVT", "NAV-SAT", "NAV-SIG", "NAV-CLOCK", "NAV-EOE", "RMC", "ZDA", "GGA"):
        assert counts[kind] == 9, kind
    assert counts["MON-RF"] == 2
    assert not [o for o in decoded if "refused" in o]
    said = {}
    for o in decoded:
        if o.get("message") == "NAV-PVT":
            said = o
        elif o.get("message") in ("RMC", "GGA", "ZDA"):
            assert o["time"] == f"{said['hour']:02}:{said['minute']:02}:{said['second']:02}"
            if "latitude_ndeg" in o:
                assert o["latitude_ndeg"] == pytest.approx(said["latitude_e7"] * 100, abs=200)
                assert o["longitude_ndeg"] == pytest.approx(said["longitude_e7"] * 100, abs=200)
    # Satellites in view by both tongues, of the last epoch: GPS is gnss 0, its sentences GP.
    ubx = messages(decoded, "NAV-SAT")[-1]["satellites"]
    assert len(ubx) == messages(decoded, "NAV-SAT")[-1]["count"] > 20


def test_sentences_without_checksum_are_marked():
    decoded = messages(decode("hp58534a"))
    assert decoded and all(o["checksum"] == "absent" for o in decoded)


def test_a_bad_date_is_named():
    assert [o.get("bad_field") for o in messages(decode("april6_2019"))] == [None, 9, None]


def test_a_file_that_cannot_be_read_is_one_line_and_status_2(tmp_path):
    for path, why in ((tmp_path / "none.log", "No such file"), (tmp_path, "Is a directory")):
        refused = run(path)
        assert refused.returncode == 2
        assert refused.stdout == b""
        lines = refused.stderr.decode().splitlines()
        assert len(lines) == 1 and str(path) in lines[0] and why in lines[0]


def test_a_file_that_is_no_log_is_one_line_and_status_2(tmp_path):
    path = tmp_path / "holiday.jpeg"
    for octets, printed in ((b"", 0), (b"\xff\xd8\xff\xe0" * 1000, 4)):
        path.write_bytes(octets)
        refused = run(path)
        assert refused.returncode == 2
        assert len(refused.stdout.splitlines()) == printed
        assert refused.stderr.decode() == f"refclock-decode: no NMEA, UBX or RTCM 3 message in {path}\n"


def test_the_command_line():
    shown = run("--help")
    assert shown.returncode == 0
    assert all(word in shown.stdout for word in (b"FILE", b"--protocol", b"Exit status"))
    assert run("--version").stdout.startswith(b"refclock-decode ")
    assert run().returncode == 2
    assert run("--protocol", "semaphore", "-", input=b"").returncode == 2


def test_output_that_cannot_be_written_is_status_1(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"$GPZDA,193334.00,31,07,2025,00,00\r\n")
    with open("/dev/full", "wb") as full:
        refused = subprocess.run([BINARY, path], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert refused.returncode == 1
    assert refused.stderr == b"refclock-decode: cannot write to standard output\n"
