"""The Debian packages: built, looked at by lintian, and then installed, used, upgraded, removed and purged on a fresh
Debian 12 whose PID 1 is systemd. The tests are one story, in their order."""
import json
import os
import pathlib
import re
import subprocess
import time

import pytest

from machine import ROOT, Machine, run

MANUAL = os.path.join(ROOT, "deploy", "OPERATIONS.md")
# What the packages put where, besides documentation: owner, group, mode.
FILES = {
    "/usr/sbin/timeballd": "root root 755",
    "/usr/bin/timeball": "root root 755",
    "/etc/timeball": "root root 755",
    "/etc/timeball/timeballd.toml": "root root 644",
    "/lib/systemd/system/timeballd.service": "root root 644",
    "/lib/systemd/system/timeballd-clock.service": "root root 644",
    "/lib/systemd/system/timeballd-clock.socket": "root root 644",
    "/usr/lib/sysusers.d/timeball.conf": "root root 644",
    "/usr/lib/tmpfiles.d/timeball.conf": "root root 644",
    "/lib/udev/rules.d/60-timeball.rules": "root root 644",
    "/usr/share/timeball/tune": "root root 755",
    "/var/lib/timeball": "timeball timeball 700",
    "/run/timeball": "timeball timeball 750",
    "/run/timeball/control": "timeball timeball 660",
}


def walk(name):
    """The commands of the manual's blocks that are marked <!-- walk: NAME -->."""
    with open(MANUAL, encoding="utf-8") as f:
        blocks = re.findall(rf"<!-- walk: {name} -->\n```sh\n(.*?)```", f.read(), re.S)
    assert blocks, name
    return blocks


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Built from HEAD, or, to save time, those in $TIMEBALL_PACKAGES."""
    directory = os.environ.get("TIMEBALL_PACKAGES")
    if not directory:
        directory = tmp_path_factory.mktemp("packages")
        begin = time.monotonic()
        run([os.path.join(ROOT, "deploy", "build-packages"), str(directory)], timeout=1500,
            env={**os.environ, "CCACHE_NOHASHDIR": "1"})
        print(f"packages built in {time.monotonic() - begin:.0f} s")
    return {path.name.split("_")[0]: path for path in pathlib.Path(directory).glob("*.deb")}


@pytest.fixture(scope="module")
def machine(tmp_path_factory, packages):
    if os.geteuid() != 0:
        pytest.skip("a machine of our own takes root")
    m = Machine(tmp_path_factory.mktemp("machine") / "root")
    begin = time.monotonic()
    if os.environ.get("TIMEBALL_ROOT"):  # what tests/debian-root has made, to save time
        run(["cp", "-a", os.environ["TIMEBALL_ROOT"] + "/.", m.directory])
    else:
        run([os.path.join(ROOT, "tests", "debian-root"), m.directory], timeout=900)
    os.makedirs(os.path.join(m.directory, "root"), exist_ok=True)
    for path in packages.values():
        run(["cp", str(path), os.path.join(m.directory, "root")])
    m.prepare(["systemd", "systemd-sysv", "udev", "procps", "man-db"],
              fetch=[f"/root/{path.name}" for path in packages.values()] + ["chrony"])
    # chrony.service waits for a machine whose clock may be set; here chronyd does without (-x).
    drop_in = os.path.join(m.directory, "etc/systemd/system/chrony.service.d")
    os.makedirs(drop_in)
    with open(os.path.join(drop_in, "test.conf"), "w", encoding="ascii") as f:
        f.write("[Unit]\nConditionCapability=\n[Service]\nExecStart=\nExecStart=!/usr/sbin/chronyd -F 1 -x\n")
    m.boot()
    print(f"Debian 12 with systemd as PID 1 after {time.monotonic() - begin:.0f} s")
    yield m
    m.halt()


class Client:
    """tests/packages/client.py on the machine's loopback."""

    def __init__(self, machine):
        self.process = machine.in_network("/usr/bin/python3", os.path.join(ROOT, "tests", "packages", "client.py"))
        assert self.process.stdout.readline() == "associated\n"

    def end(self):
        out, _ = self.process.communicate("", timeout=30)
        return json.loads(out)


def test_build_dependencies_are_those_of_every_build():
    with open(os.path.join(ROOT, "deploy", "debian", "control"), encoding="utf-8") as f:
        declared = set(re.findall(r"^ ([a-z0-9.+-]+)", f.read().split("Build-Depends:")[1].split("Standards")[0], re.M))
    needed = set(run(["bash", "-c", '. deploy/packages && printf "%s\\n" "${build_packages[@]}" "${xdp_packages[@]}"'], cwd=ROOT).split())
    assert declared - {"debhelper-compat", "dh-sequence-installsysusers"} == needed - {"g++", "python3"}  # Debian's own


def test_packages_are_two(packages):
    assert set(packages) == {"timeball", "timeball-bench"}


def test_lintian_has_no_error(packages):
    done = subprocess.run(["lintian", "--fail-on", "error", "--tag-display-limit", "0", *map(str, packages.values())],
                          capture_output=True, text=True, timeout=300)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def do_walk(machine, name):
    """What its commands show; how long they take is added up."""
    begin = time.monotonic()
    shown = "".join(machine.do("set -e\n" + block, timeout=180) for block in walk(name))
    machine.walked_s += time.monotonic() - begin
    return shown


def test_install_as_the_manual_says(machine):
    do_walk(machine, "install")
    assert machine.do("systemctl is-active timeballd").strip() == "active"
    assert machine.do("systemctl is-enabled timeballd").strip() == "enabled"
    for path, wanted in FILES.items():
        assert machine.do(f"stat -c '%U %G %a' {path}").strip() == wanted, path
    assert machine.do("man -w timeball timeballd timeballd.toml timeball-keys").count("\n") == 4


def test_daemon_has_no_more_rights_than_the_manual_says(machine):
    pid = machine.do("systemctl show -P MainPID timeballd").strip()
    status = dict(line.split(":", 1) for line in machine.do(f"cat /proc/{pid}/status").splitlines())
    user = machine.do("id -u timeball").strip()
    assert status["Uid"].split() == [user] * 4
    assert int(status["CapBnd"], 16) & ~(1 << 10) == 0  # CAP_NET_BIND_SERVICE
    assert int(status["CapPrm"], 16) & ~(1 << 10) == 0
    assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
    for path in ("/usr/x", "/etc/timeball/x", "/root/x"):  # even root could not, where the daemon lives
        assert "No such" in machine.try_(f"nsenter -t {pid} -m touch {path}; ls {path}").stderr, path


STEERS = """[ntp]
listen = ["127.0.0.1:10123"]
[nts_ke]
enabled = false
[keys]
file = ""
[admin]
listen = ""
socket = ""
[process]
user = "root"
[[refclock]]
driver = "gnss"
device = "/nowhere/gnss"
[[refclock]]
driver = "pps"
device = "/nowhere/pps"
[clock]
mode = "system"
helper = "/run/timeballd-clock"
"""
STEERING_UNIT = """[Service]
Type=oneshot
User=%i
ExecStart=timeballd --config /run/steers.toml
StandardError=truncate:/run/steers.%i
"""
# The container has no right to set a clock, so that systemd cannot give it to anybody.
NO_RIGHT = "[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\n"


def test_the_clock_helper_is_for_those_who_enable_it(machine):
    """By the packages' own units, for one user; but for the right itself, without which the kernel refuses."""
    with open(f"/proc/{machine.pid}/status", encoding="ascii") as f:
        assert not int(f.read().split("CapBnd:")[1].split()[0], 16) & 1 << 25  # CAP_SYS_TIME
    units = "timeballd-clock.socket timeballd-clock.service"
    assert machine.try_(f"systemctl is-enabled {units}").stdout.split() == ["disabled", "static"]
    assert machine.try_(f"systemctl is-active {units}").stdout.split() == ["inactive"] * 2
    drop_in = "/run/systemd/system/timeballd-clock.service.d"
    machine.do(f"mkdir -p {drop_in}; printf '%s' '{NO_RIGHT}' > {drop_in}/test.conf; "
               f"printf '%s' '{STEERS}' > /run/steers.toml; printf '%s' '{STEERING_UNIT}' > "
               "/run/systemd/system/steers@.service; systemctl daemon-reload")

    def steer(user):
        """What a daemon of this user says: of a unit's, and so without that right."""
        assert machine.try_(f"systemctl start steers@{user}").returncode != 0
        return machine.do(f"cat /run/steers.{user}")

    assert "systemctl enable --now timeballd-clock.socket" in steer("timeball")
    do_walk(machine, "clock helper")
    assert machine.do("stat -c '%U %a %F' /run/timeballd-clock").strip() == "timeball 600 socket"
    assert 'mode = "system" needs CAP_SYS_TIME' in steer("timeball")  # the helper's kernel says so
    assert "may not steer the clock" in steer("root")
    pid = machine.do("systemctl show -P MainPID timeballd-clock").strip()
    status = dict(line.split(":", 1) for line in machine.do(f"cat /proc/{pid}/status").splitlines())
    assert "0" not in status["Uid"].split() and machine.do("id -u timeball").strip() not in status["Uid"].split()
    assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
    machine.do("systemctl kill -s KILL timeballd-clock.service")
    assert 'mode = "system" needs CAP_SYS_TIME' in steer("timeball")
    assert machine.do("systemctl show -P MainPID timeballd-clock").strip() != pid


def test_out_of_the_box_it_serves_and_says_that_it_does_not_know_the_time(machine):
    answer = machine.try_("timeball query 127.0.0.1 --plain")
    assert "stratum 0" in answer.stdout or "unsynchronised" in answer.stdout, answer.stdout
    assert "may not ask the kernel whether its clock is right" in machine.do("journalctl -u timeballd --no-pager")
    assert "unsynchronised" in machine.do("systemctl status timeballd")


def test_walk_to_a_client_synchronised_over_nts(machine):
    """Must show 6: every command is the manual's."""
    do_walk(machine, "lab")
    shown = do_walk(machine, "client")
    print(f"from apt install ./timeball_*.deb to a synchronised client: {machine.walked_s:.0f} s of commands")
    row = next(line for line in machine.do("chronyc -n -c authdata").splitlines() if ",NTS," in line)
    assert int(row.split(",")[8]) > 0, row  # cookies
    assert re.search(r"^\^\* ", machine.do("chronyc -n sources"), re.M), shown
    assert "Stratum         : 11" in machine.do("chronyc tracking")


def test_reload_by_systemd_says_whether_it_was_done(machine):
    machine.do("systemctl reload timeballd")
    machine.do("echo nonsense >> /etc/timeball/timeballd.toml")
    assert machine.try_("systemctl reload timeballd").returncode != 0
    machine.do("sed -i '$d' /etc/timeball/timeballd.toml; systemctl reload timeballd")
    assert machine.do("systemctl is-active timeballd").strip() == "active"


def test_a_wrong_configuration_is_not_tried_again(machine):
    machine.do("cp -p /etc/timeball/timeballd.toml /root/good; echo nonsense >> /etc/timeball/timeballd.toml")
    assert machine.try_("systemctl restart timeballd").returncode != 0
    time.sleep(2)
    assert machine.do("systemctl show -P ActiveState timeballd").strip() == "failed"
    assert machine.do("systemctl show -P NRestarts timeballd").strip() == "0"
    machine.do("cp -p /root/good /etc/timeball/timeballd.toml; systemctl restart timeballd")


def test_a_killed_daemon_comes_back_and_knows_its_cookies(machine):
    client = Client(machine)
    machine.do("systemctl kill -s KILL timeballd")
    machine.do("until systemctl is-active timeballd && [ $(systemctl show -P NRestarts timeballd) = 1 ]; do sleep 0.2; done; "
               "sleep 2", timeout=30)
    seen = client.end()
    print("kill -9:", seen)
    assert seen["refused"] == 0 and seen["answered"] > 20 and seen["longest_gap_s"] < 10


def test_upgrade_keeps_cookies(machine, packages):
    """The same package with a higher version, while a client asks."""
    machine.do(f"dpkg-deb -R /root/{packages['timeball'].name} /root/next && "
               "sed -i 's/^Version: .*/Version: 9.0.0/' /root/next/DEBIAN/control && dpkg-deb -b /root/next /root/next.deb")
    before = machine.do("systemctl show -P MainPID timeballd")
    client = Client(machine)
    machine.do("apt-get -qq -y install /root/next.deb")
    machine.do("sleep 1; systemctl is-active timeballd")
    seen = client.end()
    print("upgrade:", seen)
    assert machine.do("systemctl show -P MainPID timeballd") != before
    assert machine.do("dpkg-query -W -f '${Version}' timeball") == "9.0.0"
    assert seen["refused"] == 0 and seen["answered"] > 20 and seen["longest_gap_s"] < 30
    assert machine.do("systemctl is-active timeballd-clock.socket").strip() == "active"  # was, and is
    assert "lab" in machine.do("timeball query time.lab --ca /root/lab/ca.pem | grep subject"), "its configuration, too"


def test_bench_package_runs(machine):
    for command in ("ntsload", "refclock-sim", "refclock-decode"):
        machine.do(f"{command} --version && man -w {command}")


def test_remove_keeps_what_is_the_operators(machine):
    machine.do("apt-get -qq -y remove timeball")
    assert machine.try_("systemctl is-active timeballd").stdout.strip() == "inactive"
    for path in ("/usr/sbin/timeballd", "/lib/systemd/system/timeballd.service", "/run/timeball", "/run/timeballd-clock"):
        assert machine.try_(f"test -e {path}").returncode == 1, path
    machine.do("test -s /var/lib/timeball/master-keys && test -s /etc/timeball/timeballd.toml")


def test_purge_leaves_what_it_says(machine):
    done = machine.try_("apt-get -y purge timeball timeball-bench")
    assert done.returncode == 0, done
    said = [line for line in (done.stdout + done.stderr).splitlines() if "timeball: kept" in line]
    assert len(said) == 2 and "system user and group timeball" in said[0] and "/etc/timeball" in said[1], said
    left = machine.do("find / -xdev \\( -path /proc -o -path /root -o -path /var/cache -o -path /tmp \\) -prune -o "
                      "\\( -iname '*timeball*' -o -user timeball -o -group timeball -o -path '/etc/timeball/*' \\) -print"
                      ).split()
    ours = {"/etc/timeball", "/etc/timeball/chain.pem", "/etc/timeball/key.pem", "/etc/chrony/conf.d/timeball.conf",
            "/etc/chrony/timeball-ca.pem"}
    assert set(left) == ours, left
    machine.do("id timeball")
