"""timeballd's command line, its log, and how it ends."""
import json
import re
import signal
import subprocess

import daemon as daemons
import pytest


def timeballd(*arguments):
    return subprocess.run([daemons.BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=30)


def test_version_and_help():
    assert timeballd("--version").stdout.startswith("timeballd ")
    shown = timeballd("--help")
    assert shown.returncode == 0
    for option in ("--config", "--check", "--print-config", "--version"):
        assert option in shown.stdout


def test_unknown_option_is_status_2():
    refused = timeballd("--no-such-option")
    assert refused.returncode == 2
    assert "--no-such-option" in refused.stderr + refused.stdout


def test_printed_defaults_can_be_edited_and_loaded(tmp_path, start):
    """What --print-config prints is a configuration: only the lab's paths have to be put in."""
    d = start()
    printed = timeballd("--print-config")
    assert printed.returncode == 0
    text = printed.stdout
    for setting, path in (("certificate", d.certificates.chain), ("private_key", d.certificates.key),
                          ("file", tmp_path / "master-keys")):
        text, count = re.subn(rf'^{setting} = .*$', f'{setting} = "{path}"', text, count=1, flags=re.M)
        assert count == 1  # [etcd] has files of these names, too, and comes later
    text = text.replace('user = "timeball"', 'user = "root"')
    path = tmp_path / "timeballd.toml"
    path.write_text(text)
    checked = timeballd("--config", path, "--check")
    assert checked.returncode == 0, checked.stderr
    assert timeballd("--config", path, "--print-config").stdout == text


def test_every_fault_of_a_file_is_reported_at_once_with_its_line(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('[ntp]\nlisten = ["nowhere"]\nshard = 2\n[keys]\nkeep = "many"\n[rate_limit]\nburst = -1\n')
    checked = timeballd("--config", path, "--check")
    assert checked.returncode == 2
    for line, word in ((2, "nowhere"), (3, "shard"), (5, "keep"), (7, "burst")):
        assert any(e.startswith(f"error: {path}:{line}: ") and word in e for e in checked.stderr.splitlines()), \
            (line, checked.stderr)


def test_missing_file_is_one_line_and_status_2(tmp_path):
    refused = timeballd("--config", tmp_path / "none.toml")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1 and "none.toml" in refused.stderr


def test_second_daemon_on_the_port_is_one_line_and_status_1(start):
    with start() as d:
        second = timeballd("--config", d.config_file)
        assert second.returncode == 1
        assert [line for line in second.stderr.splitlines() if "another server holds the port" in line]
        with d.ntp() as s:
            s.plain()  # the first goes on


def test_json_log_is_one_object_a_line(start):
    with start({"log.format": "json", "log.level": "debug"}) as d:
        d.ke(b"\x80\x01\x00\x01")
        d.process.send_signal(signal.SIGHUP)
        daemons.wait_for(lambda: "reloaded" in d.log(), what="reload")
    lines = [json.loads(line) for line in d.log().splitlines()]
    assert len(lines) >= 5
    assert all(set(line) == {"time", "level", "message"} for line in lines)


@pytest.mark.parametrize("io", ["mmsg", "io_uring"])
def test_steering_by_cpu_answers_every_flow(start, io):
    with start({"ntp.io": io, "ntp.steering": "cpu"}) as d:
        for _ in range(20):
            with d.ntp() as s, d.ntp("::1") as s6:
                s.plain()
                s6.plain()


def test_steering_by_cpu_needs_a_cpu_for_each_shard(start):
    d = start({"ntp.shards": 1024, "ntp.steering": "cpu"}).spawn()
    assert d.process.wait(20) == 1
    assert "lower shards, or set steering to" in d.log()


def test_io_uring_serves_as_mmsg_does(start):
    with start({"ntp.io": "io_uring"}) as d, d.ntp() as s, d.ntp("::1") as s6:
        a = d.associate()
        for _ in range(20):
            s.nts(a, placeholders=1)
            s6.nts(a)
        s.plain()
