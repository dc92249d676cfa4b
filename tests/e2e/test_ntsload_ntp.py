"""`ntsload ntp` against the real daemon, and against servers that misbehave."""
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import daemon as daemons
import ntslib as nts
from ntsload import BINARY, load, ntsload

SHORT = ("--duration", "500ms", "--warm-up", "0s", "--associations", 4)
AEAD_15 = ("--aead", 15)
KINDS_OF_FAILURE = ("nak", "duplicate", "wrong_origin", "malformed", "wrong_unique_identifier", "longer_than_request",
                    "missing_authenticator", "forged_authenticator", "replayed_nonce", "stale_cookie", "bad_stratum",
                    "t2_after_t3", "bad_authenticator_accepted")


@pytest.fixture(scope="module")
def server(start):
    """NTS-KE says where NTP is: the tests' servers have ports of their own."""
    port = daemons.free_port()
    d = start({"ntp.listen": [f"0.0.0.0:{port}", f"[::]:{port}"], "nts_ke.port": port})
    d.ntp_port = port
    with d:
        yield d


PATIENT = ("--reply-timeout", "10s")  # where nothing may be lost on a machine that stalls


def ke(d):
    return f"{daemons.HOST}:{d.ke_port}"


def ntp(d):
    return f"{daemons.HOST}:{d.ntp_port}"


def answered(d, verdict):
    return int(d.metric("timeball_requests_total", verdict=verdict))


def histogram(run, name):
    return next(h for h in run.report["histograms"] if h["name"] == name)


def check_all_answered(run, answered, window):
    """A closed loop's last requests may leave just after the measured time: sent and answered, not counted."""
    assert run.report["started"] == run.report["done"] <= answered <= run.report["done"] + window


def check_no_fault(run):
    assert run.status == 0, run
    assert {name: run.count(name) for name in KINDS_OF_FAILURE if run.count(name)} == {}, run


# --- The real daemon -------------------------------------------------------------------------------


@pytest.mark.parametrize("aead", nts.AEADS)
def test_closed_loop_verifies_every_reply(server, aead):
    before = answered(server, "answered_nts")
    run = load("ntp", ke(server), "--aead", aead, "--threads", 2, "--window", 8, "--check-all-up-to", 10000000, *PATIENT, *SHORT)
    check_no_fault(run)
    assert run.count("sent_nts") == run.report["done"] == run.count("verified") > 8
    check_all_answered(run, answered(server, "answered_nts") - before, window=8)
    for name in ("round_trip", "residence"):
        assert histogram(run, name)["count"] == run.report["done"]
        assert histogram(run, name)["min_ns"] > 0
    # One machine, one clock.
    assert abs(histogram(run, "offset")["p50_ns"]) < 1e6


def test_plain_closed_loop(server):
    before = answered(server, "answered_plain")
    run = load("ntp", ntp(server), "--plain", "--window", 64, *PATIENT, *SHORT)
    check_no_fault(run)
    assert run.count("sent_plain") == run.report["done"] > 64
    check_all_answered(run, answered(server, "answered_plain") - before, window=64)


@pytest.mark.parametrize("threads", (1, 2))
def test_open_loop_sends_at_the_times_fixed_in_advance(server, threads):
    run = load("ntp", ke(server), "--rate", 200, "--threads", threads, *PATIENT, *SHORT)
    check_no_fault(run)
    assert run.report["started"] == run.report["done"] == 100
    assert histogram(run, "send_delay")["min_ns"] >= 0


def test_beyond_the_stated_rate_a_stated_sample_is_verified(server):
    run = load("ntp", ke(server), "--rate", 2000, "--check-all-up-to", 0, "--check-one-in", 10, *PATIENT, *SHORT)
    check_no_fault(run)
    assert run.count("verified") + run.count("not_verified") == run.report["done"] == 1000
    assert 80 <= run.count("verified") <= 200  # a first batch is verified whole
    assert any("1 in 10" in note for note in run.report["notes"])


def test_placeholders_bring_so_many_cookies(server):
    run = load("ntp", ke(server), "--placeholders", 7, *AEAD_15, *SHORT)
    check_no_fault(run)
    assert run.report["done"] > 0


def test_faithful_client_spends_each_cookie_once(server):
    # 560 cookies: they last even if this machine stalls and nearly all is sent at once.
    run = load("ntp", ke(server), "--faithful", "--rate", 1000, "--check-all-up-to", 0, "--duration", "500ms",
               "--warm-up", "0s", "--associations", 70, "--timeout", "60s", *PATIENT)
    check_no_fault(run)
    assert run.count("verified") == run.report["done"] == 500
    assert run.count("no_cookie") == 0


def test_same_clock_shows_the_way_to_and_from_the_wire(server):
    run = load("ntp", ke(server), "--rate", 1000, "--same-clock", *PATIENT, *SHORT)
    check_no_fault(run)
    assert histogram(run, "t3_to_wire")["count"] == 500
    # T3 is set to when the reply is expected to leave: the median lies about zero, either side.
    assert -1e6 < histogram(run, "t3_to_wire")["p50_ns"] < 1e8
    assert histogram(run, "wire_to_t2")["count"] > 10
    assert 0 <= histogram(run, "wire_to_t2")["p50_ns"] < 1e8


def test_mix_counts_each_kind_and_owes_nothing_to_the_bad_ones(server):
    before = {v: answered(server, v) for v in ("answered_nts", "answered_plain", "nak")}
    run = load("ntp", ke(server), "--mix", "nts=4,plain=2,bad-authenticator=2,garbage=2", "--rate", 2000,
               "--reply-timeout", "3s", *SHORT)
    check_no_fault(run)
    sent = {kind: run.count(f"sent_{kind}") for kind in ("nts", "plain", "bad_authenticator", "garbage")}
    assert sum(sent.values()) == 1000 and min(sent.values()) > 100, sent
    assert run.report["started"] == run.report["done"] == sent["nts"] + sent["plain"]
    assert run.count("bad_authenticator_nak") == sent["bad_authenticator"] == answered(server, "nak") - before["nak"]
    assert answered(server, "answered_nts") - before["answered_nts"] == sent["nts"]


def test_ramp_ends_at_the_top_when_nothing_is_lost(server):
    run = load("ntp", ke(server), "--ramp", "100-200x1.5", "--step", "200ms", "--associations", 4)
    check_no_fault(run)
    assert [round(step["rate"]) for step in run.report["ramp"]][-1] == 200
    assert run.report["loss_free_rate"] == 200


def test_rate_limit_shows_as_kiss_codes_and_loss(start):
    with start({"rate_limit.enabled": True, "rate_limit.action": "kiss", "rate_limit.burst": 4,
                "rate_limit.interval": "1h", "rate_limit.let_through": 0, "ntp.shards": 1}) as d:
        run = load("ntp", ntp(d), "--plain", "--rate", 200, "--fail-loss", "10%", *PATIENT, *SHORT)
    assert run.status == 4, run
    assert run.report["done"] == 4 and run.count("kiss_rate") == 96


def test_stopped_server_shows_in_p99(start):
    """No coordinated omission: SIGSTOP for 200 ms in a 2 s run delays a tenth of the requests."""
    with start() as d:
        with subprocess.Popen([BINARY, "ntp", ntp(d), "--plain", "--json", "-", "--rate", "500", "--duration", "2s",
                               "--warm-up", "0s", *PATIENT], stdout=subprocess.PIPE) as process:
            daemons.wait_for(lambda: answered(d, "answered_plain") > 50, what="the load's start")
            d.process.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            d.process.send_signal(signal.SIGCONT)
            report = json.loads(process.communicate(timeout=60)[0])
        assert process.returncode == 0
        assert report["started"] == report["done"] == 1000
        latency = report["histograms"][0]
        assert latency["p99_ns"] >= 150e6, latency
        assert latency["p50_ns"] < latency["p99_ns"] / 2, latency


# --- Servers that misbehave ------------------------------------------------------------------------


class BadServer:
    """Answers NTS requests of AEAD 15 whose cookies a real NTS-KE server made; `spoil` makes the reply's faults."""

    def __init__(self, d, spoil):
        self.keys, self.port, self.spoil = daemons.KeyFile.read(d.key_file), d.ntp_port, spoil
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((daemons.HOST, self.port))
        self.socket.settimeout(0.1)
        self.nonce = os.urandom(16)
        self.stopped = False
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped = True
        self.thread.join()
        self.socket.close()

    def run(self):
        while not self.stopped:
            try:
                packet, client = self.socket.recvfrom(4096)
            except TimeoutError:
                continue
            for reply in self.spoil(self, packet):
                self.socket.sendto(reply, client)

    def reply(self, packet, uid=None, nonce=None, cookie=None, corrupt=False, cookies=1, receive_later=0, **header):
        """In order but for what is asked for."""
        fields = {f.type: f.body for f in nts.parse_fields(packet[48:])}
        sent = fields[nts.COOKIE]
        generation = (daemons.cookie_key_id(sent), self.keys.key(daemons.cookie_key_id(sent)))
        c2s, s2c = daemons.open_cookie(generation[1], sent)
        association = nts.Association(nts.SIV256, c2s, s2c)
        now = int((time.time() + nts.UNIX_TO_NTP) * 2**32)
        values = {"mode": 4, "stratum": 1, "origin": struct.unpack(">Q", packet[40:48])[0],
                  "receive": now + receive_later, "transmit": now, **header}
        out = nts.Header(**values).pack() + nts.field(nts.UID, fields[nts.UID] if uid is None else uid)
        fresh = [cookie or daemons.seal_cookie(generation, association) for _ in range(cookies)]
        inner = b"".join(nts.field(nts.COOKIE, c) for c in fresh)
        return out + nts.authenticator(nts.SIV256, s2c, out, inner, nonce=nonce, corrupt=corrupt)

    def cookie(self, packet):
        return next(f.body for f in nts.parse_fields(packet[48:]) if f.type == nts.COOKIE)


def twice(octets):
    return [octets, octets]


# What it is counted as; the replies of a server that does so.
FAULTS = {
    "replayed_nonce": lambda s, p: [s.reply(p, nonce=s.nonce)],
    "wrong_unique_identifier": lambda s, p: [s.reply(p, uid=os.urandom(32))],
    "forged_authenticator": lambda s, p: [s.reply(p, corrupt=True)],
    "longer_than_request": lambda s, p: [s.reply(p, cookies=2)],
    "stale_cookie": lambda s, p: [s.reply(p, cookie=s.cookie(p))],
    "missing_authenticator": lambda s, p: [s.reply(p)[:84]],
    "wrong_origin": lambda s, p: [s.reply(p, origin=1)],
    "malformed": lambda s, p: [s.reply(p, mode=3)],
    "t2_after_t3": lambda s, p: [s.reply(p, receive_later=2**20)],
    "bad_stratum": lambda s, p: [s.reply(p, stratum=17)],
    "duplicate": lambda s, p: twice(s.reply(p)),
    "nak": lambda s, p: [s.reply(p, stratum=0, reference_id=b"NTSN")[:84]],
}


@pytest.fixture(scope="module")
def ke_only(start):
    """NTS-KE, and the port on which its NTP server should be."""
    ntp_port = daemons.free_port()
    with start({"nts_ke.port": ntp_port}) as d:
        d.ntp_port = ntp_port
        yield d


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_server_is_counted_and_named(ke_only, fault):
    with BadServer(ke_only, FAULTS[fault]):
        run = load("ntp", ke(ke_only), "--rate", 20, "--reply-timeout", "3s", *AEAD_15, *SHORT)
    assert run.report["started"] == 10, run
    faults = {name: run.count(name) for name in KINDS_OF_FAILURE if run.count(name)}
    # Each of the four associations has its nonce for the first time once.
    expected = 10 - 4 if fault == "replayed_nonce" else 10
    assert faults == {fault: expected}, run
    done = 10 if fault == "duplicate" else 10 - expected
    assert run.report["done"] == done, run
    assert run.count("lost") == (10 if fault == "wrong_origin" else 0), run


def test_cookie_of_an_earlier_reply_is_stale_too(ke_only):
    """The same new cookie for everybody."""
    first = []

    def spoil(server, packet):
        first.append(server.cookie(packet))
        return [server.reply(packet, cookie=bytes(100))]

    with BadServer(ke_only, spoil):
        run = load("ntp", ke(ke_only), "--rate", 20, *AEAD_15, *PATIENT, *SHORT)
    assert run.count("stale_cookie") == 9 and run.report["done"] == 1, run


def test_silent_server_is_loss(ke_only):
    with BadServer(ke_only, lambda s, p: []):
        run = load("ntp", ke(ke_only), "--rate", 20, "--reply-timeout", "300ms", *SHORT)
    assert run.status == 3, run
    assert run.count("lost") == run.report["started"] == 10 and run.report["loss"] == 1


def test_reply_after_the_timeout_is_late_not_a_duplicate(ke_only):
    def spoil(server, packet):
        time.sleep(0.2)
        return [server.reply(packet)]

    with BadServer(ke_only, spoil):
        run = load("ntp", ke(ke_only), "--rate", 1, "--reply-timeout", "50ms", *AEAD_15, "--duration", "5s",
                   "--warm-up", "0s", "--associations", 1)
    assert run.report["started"] == 5 and run.count("lost") == 5, run
    assert run.count("late") >= 3 and run.count("duplicate") == 0, run


def test_bad_authenticator_taken_for_a_good_one_is_a_failure(ke_only):
    with BadServer(ke_only, lambda s, p: [s.reply(p)]):
        run = load("ntp", ke(ke_only), "--mix", "nts=1,bad-authenticator=1", "--rate", 100, *AEAD_15, *PATIENT, *SHORT)
    assert run.count("bad_authenticator_accepted") == run.count("sent_bad_authenticator") > 0, run
    assert run.report["done"] == run.count("sent_nts") > 0, run


# --- Options that do not fit -----------------------------------------------------------------------


@pytest.mark.parametrize("options, words", (
    (("--rate", "1", "--window", "2"), "--window"),
    (("--ramp", "10-5"), "--ramp"),
    (("--ramp", "1-2", "--rate", "1"), "--r"),
    (("--mix", "nts=0"), "--mix"),
    (("--mix", "garbage=1"), "--mix"),
    (("--plain", "--mix", "nts=1"), "--"),
    (("--threads", "2", "--associations", "1"), "--associations"),
    (("--source-net", "10.0.0.1/8"), "10.0.0.0/8"),
    (("--reply-timeout", "5"), "--reply-timeout"),
    (("--placeholders", "8"), "--placeholders"),
    (("--faithful", "--placeholders", "1"), "--"),
))
def test_options_that_do_not_fit_are_refused_in_one_line(options, words):
    run = ntsload("ntp", daemons.HOST, *options)
    assert run.status == 2 and words in run.err, run
    assert len(run.err.strip().splitlines()) <= 2, run
