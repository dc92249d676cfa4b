"""What the daemon may do once it serves, and whom it becomes."""
import os
import pwd
import signal
import subprocess
import time

from pathlib import Path

import pytest

import daemon as daemons

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root can become another user: run this as root")
RACK = [{"driver": "gnss", "device": "/nowhere/gnss"}, {"driver": "pps", "device": "/nowhere/pps"}]


def status_of(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f)


def capabilities(status):
    return [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")]


def given_to_nobody(d):
    """A daemon whose files are the user nobody's, as far as it must be."""
    nobody = pwd.getpwnam("nobody")
    d.settings["process.user"] = "nobody"
    own = os.path.join(d.directory, "own")
    os.mkdir(own)
    certificates = daemons.LabCertificates(own)
    d.certificates = certificates
    d.settings.update({"nts_ke.certificate": certificates.chain, "nts_ke.private_key": certificates.key,
                       "keys.file": os.path.join(own, "master-keys"), "admin.socket": os.path.join(own, "control")})
    for path in (own, *(os.path.join(own, name) for name in os.listdir(own))):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    parent = d.directory
    while parent != "/tmp" and parent != "/":  # pytest's directories are their owner's alone
        os.chmod(parent, os.stat(parent).st_mode | 0o055)
        parent = os.path.dirname(parent)
    return d


def schedulers(d):
    """Of its threads, by their names: (policy, priority)."""
    found = {}
    for task in os.listdir(f"/proc/{d.process.pid}/task"):
        with open(f"/proc/{d.process.pid}/task/{task}/comm", encoding="ascii") as f:
            policy, priority = os.sched_getscheduler(int(task)), os.sched_getparam(int(task)).sched_priority
            found.setdefault(f.read().strip(), set()).add((policy, priority))
    return found


@needs_root
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_the_shards_alone_are_given_real_time_priority(start, user):
    """Without CAP_SYS_RESOURCE, too, as in containers. Where nobody may have it the log says so."""
    d = start({"ntp.realtime_priority": 2})
    permitted = subprocess.run(["chrt", "-f", "2", "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0
    with given_to_nobody(d) if user == "nobody" else d:
        d.threads("shard", d.settings["ntp.shards"])
        found = schedulers(d)
        assert found.pop("shard") == {(os.SCHED_FIFO, 2) if permitted else (os.SCHED_OTHER, 0)}
        assert found and all(each == {(os.SCHED_OTHER, 0)} for each in found.values()), found
        assert ("realtime_priority = 2: not permitted" in d.log()) != permitted
        assert not any(capabilities(status_of(d.process)))


def self_test(d):
    d.write_config()
    return subprocess.run([daemons.BINARY, "--config", d.config_file, "--self-test-sandbox"], capture_output=True,
                          text=True, timeout=120)


def test_serves_without_rights(daemon):
    status = status_of(daemon.process)
    assert capabilities(status) == [0, 0, 0, 0]
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    for task in os.listdir(f"/proc/{daemon.process.pid}/task"):
        with open(f"/proc/{daemon.process.pid}/task/{task}/status", encoding="ascii") as f:
            text = f.read()
        assert "CapEff:\t0000000000000000\n" in text and "Seccomp:\t2\n" in text, text
    assert "sandbox on: " in daemon.log()


@needs_root
def test_root_becomes_the_user(start):
    with given_to_nobody(start()) as d:
        nobody = pwd.getpwnam("nobody")
        status = status_of(d.process)
        assert set(status["Uid"].split()) == {str(nobody.pw_uid)} and set(status["Gid"].split()) == {str(nobody.pw_gid)}
        assert "0" not in status["Groups"].split() and capabilities(status) == [0, 0, 0, 0]
        assert os.stat(d.settings["keys.file"]).st_uid == nobody.pw_uid
        assert d.associate(ca_file=d.certificates.ca).cookies
        assert d.command("keys", "verify") and d.command("keys", "rotate") and d.command("reload") == "reloaded\n"


@needs_root
def test_what_the_user_cannot_read_is_said_at_the_start(start):
    d = given_to_nobody(start())
    os.chown(d.certificates.key, 0, 0)
    d.spawn()
    assert d.process.wait(20) == 2
    assert f'cannot read "{d.certificates.key}": Permission denied' in d.log()
    assert "note: read as the user nobody ([process] user)" in d.log()


@needs_root
def test_a_user_that_is_not_there_is_one_line(start):
    for key, value, word in (("process.user", "no-such-user", "adduser --system"),
                             ("process.group", "no-such-group", "addgroup --system")):
        d = start({key: value})
        d.spawn()
        assert d.process.wait(20) == 1
        assert len(d.log().splitlines()) == 1 and f'"{value}"' in d.log() and word in d.log(), d.log()


def test_a_forbidden_call_ends_it_by_name(start, shim):
    if daemons.ASAN:
        pytest.skip("built with ASan, which takes the shim's calls for its own")
    d = start(environment=shim.environment()).start()
    shim.set(call_chroot=True)
    assert d.process.wait(20) == -signal.SIGSYS
    violation = daemons.VIOLATION.search(d.log())
    assert violation and violation.group(1) == "chroot" and "please report this" in violation.group(), d.log()
    with pytest.raises(AssertionError, match="forbidden system call chroot"):
        d.check_log()


@needs_root
def test_what_must_fail_fails(start):
    if daemons.ASAN:
        pytest.skip("built with ASan, whose runtime may do more")
    for settings, refclock in (({}, None), ({"nts_ke.enabled": False}, None), ({"ntp.io": "xdp", "ntp.xdp_interfaces": ["lo"]}, None),
                               ({"ntp.listen": [], "nts_ke.server": "a.test"}, None),
                               ({"clock.mode": "system", "clock.leap_file": ""}, RACK),
                               ({"clock.mode": "system", "clock.helper": "/nowhere/clock", "clock.leap_file": ""}, RACK)):
        done = self_test(given_to_nobody(start(settings, refclock=refclock)))
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        assert lines.pop() == "all fail as they must"
        assert len(lines) >= 20 and all(line.startswith("fails as it must: ") for line in lines), done.stdout
        if refclock:
            assert sum("clock helper: " in line for line in lines) >= 20, done.stdout


@needs_root
def test_the_self_test_can_fail(start):
    done = self_test(given_to_nobody(start({"process.sandbox": "off"})))
    assert done.returncode == 1
    for what in ("make a file in /var/tmp", "remove a file of this user's", "run a program (execve)",
                 "start a process (fork)", "make memory that is written and run", "make a TCP socket"):
        assert f"DOES NOT FAIL: daemon: {what}" in done.stdout, done.stdout
    assert "fails as it must: daemon: set the clock" in done.stdout  # no capability is left in any case


@needs_root
def test_to_steer_the_clock_takes_the_right_to(start):
    """Of which this one has nothing: it cannot touch the clock of the machine it runs on."""
    d = start({"clock.mode": "system", "clock.leap_file": ""}, refclock=RACK,
              wrapper=("setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time"))
    d.spawn()
    assert d.process.wait(20) == 1
    said = [line for line in d.log().splitlines() if line.startswith("timeballd: ")]
    assert said == ['timeballd: clock.mode = "system" needs CAP_SYS_TIME: name clock.helper, grant it, or set mode to "software"'], d.log()


@needs_root
def test_a_clock_helper_that_dies_is_an_alarm(start, shim):
    """Of a kernel's clock that the shim makes up; in a user namespace, from which nobody could touch the real one."""
    shim.set(fake_adjtime=True)
    with start({"clock.mode": "system", "clock.leap_file": ""}, refclock=RACK, environment=shim.environment(recording=False),
               wrapper=("unshare", "--user", "--map-root-user")) as d:
        def steered(value):
            metrics = d.metrics()  # the first second has neither
            alarm = next((v for series, v in metrics.items() if 'alarm="kernel-not-steered"' in series), None)
            return metrics.get("timeball_kernel_clock_steered") == value and alarm == 1 - value

        daemons.wait_for(lambda: steered(1), what="the helper does its work")
        time.sleep(3)  # it has been asked by now
        assert steered(1)
        [helper] = Path(f"/proc/{d.process.pid}/task/{d.process.pid}/children").read_text().split()
        assert Path(f"/proc/{helper}/comm").read_text() == "timeballd-clock\n"
        os.kill(int(helper), signal.SIGKILL)
        daemons.wait_for(lambda: steered(0), what="the alarm")
        daemons.wait_for(lambda: "alarm: kernel-not-steered: " in d.log(), what="the alarm in the log")
        assert "the clock helper has ended" in d.log()
        assert d.get("/healthz")[0] == 200
