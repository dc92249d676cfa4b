"""`ntsload ke` against the real daemon, and against servers that misbehave."""
import contextlib
import json
import os
import pty
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import daemon as daemons
import ntslib as nts
from ntsload import BINARY, load, ntsload

SHORT = ("--duration", "500ms", "--warm-up", "0s")


def target(d):
    return f"{daemons.HOST}:{d.ke_port}"


def completed(d):
    return d.metric("timeball_nts_ke_connections_total", outcome="completed")


# --- The loops -------------------------------------------------------------------------------------


def test_closed_loop_counts_what_the_server_counts(daemon):
    before = completed(daemon)
    run = load("ke", target(daemon), "--connections", 4, "--threads", 2, *SHORT)
    assert run.status == 0, run
    report = run.report
    assert report["started"] == report["done"] > 4 and report["loss"] == 0
    assert all(c["count"] == 0 for c in report["counts"]), run
    assert completed(daemon) - before == report["done"]
    assert report["rate"] == pytest.approx(report["done"] / 0.5)
    assert sum(p["done_per_second"] * 0.05 for p in report["timeline"]) == pytest.approx(report["done"])
    latency, handshake = report["histograms"]
    assert latency["count"] == handshake["count"] == report["done"]
    assert 0 < handshake["min_ns"] <= latency["max_ns"]


@pytest.mark.parametrize("threads", (1, 2))
def test_open_loop_begins_at_the_times_fixed_in_advance(daemon, threads):
    run = load("ke", target(daemon), "--rate", 40, "--duration", "1s", "--threads", threads)
    assert run.status == 0, run
    assert run.report["started"] == run.report["done"] == 40


def test_stopped_server_shows_in_p99(start):
    """No coordinated omission: SIGSTOP for 200 ms in a 2 s run delays a tenth of the arrivals."""
    with start() as d:
        before = completed(d)
        with subprocess.Popen([BINARY, "ke", target(d), "--json", "-", "--rate", "50", "--duration", "2s",
                               "--warm-up", "0s"], stdout=subprocess.PIPE) as process:
            daemons.wait_for(lambda: completed(d) - before >= 5, what="the load's start")
            d.process.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            d.process.send_signal(signal.SIGCONT)
            report = json.loads(process.communicate(timeout=60)[0])
        assert process.returncode == 0
        assert report["started"] == report["done"] == 100
        latency = report["histograms"][0]
        assert latency["p99_ns"] >= 100e6, latency
        assert latency["max_ns"] >= 150e6, latency
        assert max(p["p99_ns"] for p in report["timeline"]) >= 150e6


def test_arrivals_that_find_no_connection_wait_and_their_wait_counts(start):
    """One connection at a time, at a server that is stopped: those behind it are given up, or late."""
    with start() as d:
        d.process.send_signal(signal.SIGSTOP)
        run = load("ke", target(d), "--rate", 20, "--connections", 1, "--duration", "1s", "--warm-up", "0s",
                   "--timeout", "300ms")
        d.process.send_signal(signal.SIGCONT)
        assert run.status == 3, run
        assert run.report["started"] == 20 and run.report["loss"] == 1
        assert run.count("timeout") >= 1 and run.count("overdue") >= 10
        assert run.count("timeout") + run.count("overdue") == 20


# --- Options that reach the wire -------------------------------------------------------------------


@pytest.mark.parametrize("aead", (15, 16, 17, 30))
def test_offers_the_aead_asked_for(custom_daemon, start, aead):
    with start({"nts_ke.aeads": [15]}) as only_15:
        run = load("ke", target(only_15), "--aead", aead, *SHORT)
        assert (run.report["done"] > 0) == (aead == 15), run
        assert (run.count("no_common_aead") > 0) == (aead != 15), run
    assert load("ke", target(custom_daemon), "--aead", aead, *SHORT).status == 0


@pytest.mark.parametrize("option, value", (("--groups", "P-256"), ("--groups", "P-384:X25519"),
                                           ("--cipher-suites", "TLS_CHACHA20_POLY1305_SHA256")))
def test_other_groups_and_cipher_suites_do(daemon, option, value):
    assert load("ke", target(daemon), option, value, *SHORT).status == 0


@pytest.mark.parametrize("option", ("--groups", "--cipher-suites"))
def test_unknown_groups_and_cipher_suites_are_one_line(daemon, option):
    run = ntsload("ke", target(daemon), option, "NONSENSE", *SHORT)
    assert run.status == 1 and len(run.err.splitlines()) == 1 and "NONSENSE" in run.err, run


def test_verification_is_done_when_asked_for(daemon, certificates):
    good = load("ke", target(daemon), "--ca", certificates.ca, *SHORT)
    assert good.status == 0, good
    unknown_ca = load("ke", target(daemon), "--verify", *SHORT)
    assert unknown_ca.status == 3 and unknown_ca.count("certificate") > 0, unknown_ca
    assert unknown_ca.count("certificate") == unknown_ca.report["started"]
    other_name = load("ke", f"localhost:{daemon.ke_port}", "--ca", certificates.ca, *SHORT)
    assert other_name.status == 3 and other_name.count("certificate") > 0, other_name
    assert any("hostname mismatch" in note for note in other_name.report["notes"]), other_name
    missing = ntsload("ke", target(daemon), "--ca", "/nonexistent", *SHORT)
    assert missing.status == 1 and "/nonexistent" in missing.err, missing


def test_abrupt_farewell_does_not_disturb_the_server(daemon):
    run = load("ke", target(daemon), "--close", "abrupt", *SHORT)
    assert run.status == 0 and run.report["done"] > 0, run
    assert load("ke", target(daemon), *SHORT).status == 0


def test_kept_connections_are_the_servers_to_close(start):
    with start() as d:
        run = load("ke", target(d), "--close", "keep", "--rate", 50, "--duration", "1s")
        assert run.status == 0 and run.report["done"] == 50, run
        daemons.wait_for(lambda: d.metric("timeball_nts_ke_connections_open") == 0, what="all closed")


def test_slow_connections_are_ended_by_the_servers_deadline(start):
    with start({"nts_ke.deadline": "10s"}) as d:
        run = load("ke", target(d), "--slow", 20, "--rate", 20, "--duration", "13s")
        assert run.status == 0 and run.report["done"] == 260, run
        assert run.count("slow_ended") >= 20
        assert d.metric("timeball_nts_ke_connections_total", outcome="deadline") >= 20


# --- Failures --------------------------------------------------------------------------------------


def test_refused_connection_is_named():
    run = load("ke", f"{daemons.HOST}:{daemons.free_port()}", *SHORT)
    assert run.status == 3, run
    assert run.count("connect_refused") == run.report["started"] > 0


class BadServer:
    """TLS 1.3 with ntske/1 unless told otherwise; answers every request with the octets given, or none at
    all, and closes."""

    def __init__(self, certificates, answer, alpn=nts.ALPN.decode(), tls12=False, plain=None, silent=False):
        self.answer, self.plain, self.silent = answer, plain, silent
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificates.chain, certificates.key)
        if alpn:
            self.context.set_alpn_protocols([alpn])
        if tls12:
            self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.listener = socket.create_server((daemons.HOST, 0))
        self.port = self.listener.getsockname()[1]
        self.kept = []
        self.thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        for connection in self.kept:
            connection.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(5)
            with contextlib.suppress(OSError):
                self._answer(connection)

    def _answer(self, connection):
        if self.silent:
            self.kept.append(connection)
            return
        if self.plain is not None:
            connection.recv(4096)
            connection.sendall(self.plain)
            connection.close()
            return
        with self.context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(self.answer)


def error_record(code):
    return nts.record(nts.ERROR, nts.words(code), critical=True) + nts.eom()


GOOD_HEAD = nts.next_protocol(0) + nts.aead_record(15)


@pytest.mark.parametrize("name, options", (
    ("ke_unrecognized_critical", {"answer": error_record(0)}),
    ("ke_bad_request", {"answer": error_record(1)}),
    ("ke_internal_error", {"answer": error_record(2)}),
    ("ke_other_error", {"answer": error_record(77)}),
    ("no_common_protocol", {"answer": nts.next_protocol() + nts.eom()}),
    ("no_common_aead", {"answer": nts.next_protocol(0) + nts.aead_record() + nts.eom()}),
    ("bad_record", {"answer": GOOD_HEAD + nts.eom()}),  # no cookie
    ("bad_record", {"answer": nts.record(4001, critical=True) + GOOD_HEAD + nts.eom()}),
    ("bad_record", {"answer": nts.record(4001, bytes(60000)) + nts.record(4001, bytes(60000))}),
    ("closed", {"answer": GOOD_HEAD}),
    ("no_alpn", {"answer": b"", "alpn": None}),
    ("tls_alert", {"answer": b"", "alpn": "http/1.1", "tls12": True}),
    ("tls_failed", {"answer": b"", "plain": b"HTTP/1.1 400 Bad Request\r\n\r\n"}),
    ("closed", {"answer": b"", "plain": b""}),
    ("timeout", {"answer": b"", "silent": True}),
), ids=lambda v: v if isinstance(v, str) else "")
def test_bad_server_is_named(certificates, name, options):
    patience = "300ms" if name == "timeout" else "30s"
    with BadServer(certificates, **options) as server:
        run = load("ke", f"{daemons.HOST}:{server.port}", "--connections", 1, "--timeout", patience, *SHORT)
    assert run.status == 3 and run.report["done"] == 0, run
    assert run.count(name) == run.report["started"] > 0, run


def test_good_answer_of_that_server_is_done(certificates):
    """The bad servers fail for the reason given and no other."""
    with BadServer(certificates, GOOD_HEAD + nts.record(nts.NEW_COOKIE, bytes(100)) + nts.eom()) as server:
        run = load("ke", f"{daemons.HOST}:{server.port}", "--connections", 1, *SHORT)
    assert run.status == 0 and run.report["loss"] == 0, run


# --- Limits, the target, what is said --------------------------------------------------------------


def test_limits_decide_the_exit_status(daemon):
    assert load("ke", target(daemon), "--fail-loss", "0.1%", "--fail-p99", "60s", *SHORT).status == 0
    slow = load("ke", target(daemon), "--fail-p99", "1us", *SHORT)
    assert slow.status == 4 and "--fail-p99" in slow.report["limits_passed"][0], slow
    lossy = load("ke", f"{daemons.HOST}:{daemons.free_port()}", "--fail-loss", "0", *SHORT)
    assert lossy.status == 3 and "--fail-loss" in lossy.report["limits_passed"][0], lossy


def test_foreign_target_is_refused_and_nothing_is_sent():
    run = ntsload("ke", "192.0.2.1", *SHORT)
    assert run.status == 2 and run.out == "", run
    assert len(run.err.splitlines()) == 1 and "--i-own-this-server" in run.err


def test_address_in_another_namespace_of_this_machine_is_ours():
    """It is not refused; from a namespace without a route to it, it cannot be reached."""
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link set lo up && ip address add 192.0.2.7/32 dev lo "
                               "&& echo ready && exec sleep 60"], stdout=subprocess.PIPE, text=True)
    try:
        if holder.stdout.readline() != "ready\n":
            pytest.skip("no right to make a network namespace")
        run = load("ke", "192.0.2.7", *SHORT, wrapper=("unshare", "-n"))
        assert run.status == 3 and run.count("connect_failed") > 0, run
        run = ntsload("ke", "192.0.2.8", *SHORT, wrapper=("unshare", "-n"))
        assert run.status == 2, run
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_servers_cpu_time_is_that_of_the_kernels_books(start):
    with start() as d:
        before = cpu_seconds(d.process.pid)
        run = load("ke", target(d), "--server-pid", d.process.pid, "--duration", "2s", "--warm-up", "0s")
        used = cpu_seconds(d.process.pid) - before
    report = run.report
    assert report["server_cpu_us"] * report["done"] / 1e6 == pytest.approx(used, rel=0.2), run
    assert report["server_cpu_share"] == pytest.approx(report["server_cpu_us"] * report["rate"] / 1e6)
    assert report["client_cpu_us"] > 0


def test_idle_server_is_not_called_the_bottleneck(start):
    with start() as d:
        run = load("ke", target(d), "--server-pid", d.process.pid, "--rate", 5, "--duration", "2s")
    assert any("the server was not the bottleneck" in note for note in run.report["notes"]), run


def test_missing_server_process_is_one_line(daemon):
    run = ntsload("ke", target(daemon), "--server-pid", 2**31 - 1, *SHORT)
    assert run.status == 1 and len(run.err.splitlines()) == 1 and "2147483647" in run.err, run


def test_server_that_dies_is_reported(start):
    d = start().start()
    with subprocess.Popen([BINARY, "ke", target(d), "--json", "-", "--rate", "50", "--duration", "2s", "--warm-up", "0s",
                           "--server-pid", str(d.process.pid)], stdout=subprocess.PIPE) as process:
        daemons.wait_for(lambda: completed(d) >= 5, what="the load's start")
        d.kill()
        report = json.loads(process.communicate(timeout=60)[0])
    assert process.returncode == 0 and 5 <= report["done"] < report["started"] == 100
    assert "the server's process ended during the run" in report["notes"]


def test_fewer_connections_than_threads_are_one_line(daemon):
    run = ntsload("ke", target(daemon), "--connections", 1, "--threads", 2, *SHORT)
    assert run.status == 2 and len(run.err.splitlines()) == 1 and "--connections" in run.err, run


def test_text_report_and_silence_when_piped(daemon, tmp_path):
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    run = ntsload("ke", target(daemon), "--html", page, "--json", data, *SHORT)
    assert run.status == 0 and run.err == "", run
    assert re.search(r"^rate +\d+\.\d/s \(\d+ of \d+ done in 0.5 s, loss 0.000 %\)$", run.out, re.M), run
    assert re.search(r"^latency +min .* p50 .* p90 .* p99 .* p99.9 .* max ", run.out, re.M), run
    assert json.loads(data.read_text())["done"] > 0
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_progress_on_a_terminal(daemon):
    ours, theirs = pty.openpty()
    with subprocess.Popen([BINARY, "ke", target(daemon), "--duration", "1s", "--warm-up", "0s"],
                          stdout=subprocess.PIPE, stderr=theirs) as process:
        out, _ = process.communicate(timeout=60)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while octets := os.read(ours, 65536):
            shown += octets
    os.close(ours)
    assert re.search(rb"\d of 1 s  \d+/s  loss 0.00 %  p50 .*  p99 .*  \d s left", shown), shown
    assert shown.endswith(b"\r\x1b[K") and out.startswith(b"ntsload ke ")


def test_report_that_cannot_be_written_is_one_line(daemon):
    run = ntsload("ke", target(daemon), "--html", "/nonexistent/report.html", *SHORT)
    assert run.status == 1 and len(run.err.splitlines()) == 1 and "/nonexistent/report.html" in run.err, run


def test_help_and_man_page_are_of_one_source():
    text, page = ntsload("ke", "--help"), ntsload("--man")
    assert text.status == page.status == 0
    for option in ("--rate", "--slow", "--i-own-this-server", "--server-pid", "--fail-p99"):
        assert f"    {option}" in text.out
        assert ".B " + option.replace("-", r"\-") in page.out
    assert page.out.startswith('.TH "NTSLOAD" 1 ')
    with open(os.path.join(daemons.BUILD, "deploy", "ntsload.1"), encoding="utf-8") as built:
        assert built.read() == page.out
