"""The unit: that systemd understands it, and how exposed it calls the daemon. PID 1 need not be systemd."""
import os
import shutil
import subprocess

import daemon as daemons
import pytest

SYSTEMD = os.path.join(daemons.ROOT, "deploy", "systemd")
UNIT = os.path.join(SYSTEMD, "timeballd.service")
HELPER = [os.path.join(SYSTEMD, "timeballd-clock." + kind) for kind in ("service", "socket")]
DROP_INS = os.path.join(SYSTEMD, "drop-ins")

# drop-ins: the most that deploy/OPERATIONS.md says of systemd-analyze's exposure
EXPOSURE = {(): 1.5, ("credentials",): 1.5, ("realtime",): 1.6, ("devices",): 1.7, ("kernel-clock",): 1.9,
            ("xdp",): 2.1,
            ("devices", "realtime", "credentials"): 1.8}
HELPER_EXPOSURE = 1.1
MOST = 2.0  # for clocks and devices; to load a program into the kernel is more


def with_drop_ins(directory, drop_ins):
    """The unit with them beside it, and the programs where they were built."""
    with open(UNIT, encoding="utf-8") as f:
        unit = f.read().replace("/usr/sbin/timeballd", daemons.BINARY).replace("/usr/bin/timeball", daemons.TOOL)
    os.makedirs(directory / "timeballd.service.d")
    (directory / "timeballd.service").write_text(unit)
    for path in HELPER:
        with open(path, encoding="utf-8") as f:
            (directory / os.path.basename(path)).write_text(f.read().replace("/usr/sbin/timeballd", daemons.BINARY))
    for name in drop_ins:
        shutil.copy(os.path.join(DROP_INS, name + ".conf"), directory / "timeballd.service.d")
    return str(directory / "timeballd.service")


def exposure(path):
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", path], capture_output=True, text=True,
                          timeout=60, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0 and not done.stderr, done.stderr
    return float(done.stdout.split(f"Overall exposure level for {os.path.basename(path)}:")[1].split()[0])


def test_exposure_of_the_unit_itself():
    assert exposure(UNIT) <= 1.5


def test_exposure_of_the_clock_helper():
    assert exposure(HELPER[0]) == HELPER_EXPOSURE <= MOST


@pytest.mark.parametrize("drop_ins", EXPOSURE, ids="+".join)
def test_exposure_with_drop_ins(tmp_path, drop_ins):
    assert exposure(with_drop_ins(tmp_path, drop_ins)) == EXPOSURE[drop_ins]
    assert EXPOSURE[drop_ins] <= MOST or "xdp" in drop_ins


def test_manual_names_every_drop_in_with_its_exposure():
    with open(os.path.join(daemons.ROOT, "deploy", "OPERATIONS.md"), encoding="utf-8") as f:
        manual = f.read()
    for drop_ins, figure in EXPOSURE.items():
        names = " + ".join(f"`{name}.conf`" for name in drop_ins) or "none"
        assert f"| {names} | {figure} |" in manual, names
    assert f"| `timeballd-clock.service` | {HELPER_EXPOSURE} |" in manual
    assert {name + ".conf" for drop_ins in EXPOSURE for name in drop_ins} == set(os.listdir(DROP_INS))


@pytest.mark.parametrize("drop_ins", EXPOSURE, ids="+".join)
def test_systemd_understands_every_line(tmp_path, drop_ins):
    units = [with_drop_ins(tmp_path, drop_ins), *(str(tmp_path / os.path.basename(path)) for path in HELPER)]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if "timeballd" in line]
    assert done.returncode == 0 and not said, done.stderr


def test_systemd_says_what_it_does_not_understand(tmp_path):
    """So that the test above can fail."""
    path = with_drop_ins(tmp_path, ())
    (tmp_path / "timeballd.service.d" / "wrong.conf").write_text("[Service]\nProtectClocks=yes\n")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, timeout=60)
    assert "ProtectClocks" in done.stderr
