"""`ntsload ntp` against Debian's chronyd, and from many addresses."""
import subprocess

import pytest
from daemon import HOST, free_port, wait_for
from ntsload import load
from peers import ChronyServer, verdicts

SHORT = ("--duration", "500ms", "--warm-up", "100ms", "--associations", 8)
PATIENT = ("--reply-timeout", "10s")  # where nothing may be lost on a machine that stalls


@pytest.fixture(scope="module")
def chronyd(certificates, tmp_path_factory):
    ke_port = free_port()
    with ChronyServer(tmp_path_factory.mktemp("chronyd"), ke_port, free_port(), certificates) as server:
        server.target = f"{HOST}:{ke_port}"
        wait_for(lambda: load("ntp", server.target, "--associations", 1, "--rate", 10, "--duration", "100ms").status == 0,
                 20, "chronyd serving NTS")
        yield server


def failures(run):
    return {c["name"]: c["count"] for c in run.report["counts"] if c["failure"] and c["count"]}


def test_every_reply_of_chronyd_verifies(chronyd):
    run = load("ntp", chronyd.target, "--window", 8, "--check-all-up-to", 10000000, "--server-pid", chronyd.process.pid,
               *PATIENT, *SHORT)
    assert run.status == 0 and failures(run) == {}, run
    assert run.report["done"] == run.report["started"] == run.count("verified") > 100
    assert run.report["server_cpu_us"] > 0


def test_faithful_client_of_chronyd_never_lacks_cookies(chronyd):
    run = load("ntp", chronyd.target, "--faithful", "--rate", 500, "--duration", "1s", "--warm-up", "0s",
               "--associations", 70, "--timeout", "60s", *PATIENT)  # 560 cookies: enough even for all at once
    assert run.status == 0 and failures(run) == {}, run
    assert run.report["done"] == 500 and run.count("no_cookie") == 0


def test_mix_against_chronyd(chronyd):
    run = load("ntp", chronyd.target, "--mix", "nts=4,plain=4,bad-authenticator=1,garbage=1", "--rate", 400,
               *PATIENT, *SHORT)
    assert run.status == 0 and failures(run) == {}, run
    assert run.report["done"] == run.report["started"] == run.count("sent_nts") + run.count("sent_plain")
    assert run.count("bad_authenticator_nak") == run.count("sent_bad_authenticator") > 0


def test_ramp_against_chronyd_finds_a_rate_below_the_one_that_loses(chronyd):
    run = load("ntp", chronyd.target, "--ramp", "5000-2000000x2", "--step", "200ms", "--associations", 8, timeout=120)
    assert run.status == 0, run
    rate, steps = run.report["loss_free_rate"], run.report["ramp"]
    assert rate in [step["rate"] for step in steps], run
    assert 5000 <= rate < 2000000
    assert max(step["rate"] for step in steps) > rate, "nothing above it was tried"
    assert run.report["loss"] <= 0.001, "the report is not that of the loss-free rate"


def test_requests_come_from_every_address_of_the_network(make_server):
    subprocess.run(["ip", "route", "add", "local", "172.18.0.0/16", "dev", "lo"], check=True)
    limits = {"rate_limit.enabled": True, "rate_limit.burst": 2, "rate_limit.interval": "1h",
              "rate_limit.let_through": 0, "ntp.shards": 1}
    with make_server(limits) as server:
        target = f"{HOST}:{server.ntp_port}"
        one = load("ntp", target, "--plain", "--rate", 1000, "--reply-timeout", "200ms", *SHORT)
        many = load("ntp", target, "--plain", "--rate", 1000, "--source-net", "172.18.0.0/16", *PATIENT, *SHORT)
        assert verdicts(server, "answered_plain") == 2 + 600, "each of 600 addresses asked once"
    assert one.count("lost") >= 498 and many.status == 0 and failures(many) == {}, many
    assert many.report["done"] == 500
