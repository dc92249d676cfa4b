"""deploy/tune on a tree that looks like /proc and /sys, with an ethtool that remembers."""
import os
import subprocess

import daemon as daemons
import pytest

TUNE = os.path.join(daemons.ROOT, "deploy", "tune")
ETHTOOL = """#!/bin/sh
case $1 in
  -g) printf 'Ring parameters for %s:\\nPre-set maximums:\\nRX:\\t\\t4096\\nTX:\\t\\t4096\\nCurrent hardware settings:\\n' "$2"
      printf 'RX:\\t\\t%s\\nTX:\\t\\t256\\n' "$(cat "$STORE/rx")" ;;
  -c) printf 'Coalesce parameters for %s:\\nAdaptive RX: %s  TX: off\\nrx-usecs: %s\\nrx-frames: n/a\\n' \\
        "$2" "$(cat "$STORE/adaptive-rx")" "$(cat "$STORE/rx-usecs")" ;;
  -G | -C) echo "$4" > "$STORE/$3" ;;
esac
"""


class Machine:
    """Four CPUs, a card with two queues, two more interrupts that are not its."""

    FILES = {
        "proc/cmdline": "quiet",
        "proc/net/route": "Iface\tDestination\tGateway\neth0\t00000000\t0102A8C0",
        "proc/sys/net/core/somaxconn": "128",
        "proc/sys/net/core/rmem_max": "212992",
        "proc/sys/net/core/wmem_max": "8388608",
        "proc/sys/net/core/netdev_max_backlog": "20000",
        "proc/irq/24/smp_affinity_list": "0-3",
        "proc/irq/25/smp_affinity_list": "0-3",
        "proc/irq/9/smp_affinity_list": "0-3",
        "sys/devices/system/cpu/online": "0-3",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet",
        "sys/class/net/eth0/device/msi_irqs/24": "msi",
        "sys/class/net/eth0/device/msi_irqs/25": "msi",
        "sys/class/net/eth0/queues/rx-0/rps_cpus": "0",
        "sys/class/net/eth0/queues/rx-1/rps_cpus": "f",
        "sys/class/net/eth0/queues/tx-0/xps_cpus": "0",
        "sys/class/net/eth0/queues/tx-1/xps_cpus": "2",
    }

    def __init__(self, directory):
        self.root = directory / "root"
        for path, text in self.FILES.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text + "\n")
        self.card = directory / "card"
        self.card.mkdir()
        for name, value in (("rx", "256"), ("adaptive-rx", "on"), ("rx-usecs", "50")):
            (self.card / name).write_text(value + "\n")
        (directory / "bin").mkdir()
        (directory / "bin" / "ethtool").write_text(ETHTOOL)
        (directory / "bin" / "ethtool").chmod(0o755)
        self.environment = {"PATH": f"{directory / 'bin'}:{os.environ['PATH']}", "STORE": str(self.card)}

    def tune(self, *arguments, status=0):
        done = subprocess.run(["bash", TUNE, "--root", self.root, *arguments], capture_output=True, text=True,
                              timeout=60, env=self.environment)
        assert done.returncode == status, done
        assert status == 2 or not done.stderr, done.stderr
        return done.stdout + done.stderr

    def contents(self):
        files = {path: (self.root / path).read_text().strip() for path in self.FILES}
        return files | {name: (self.card / name).read_text().strip() for name in ("rx", "adaptive-rx", "rx-usecs")}


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_it_only_shows_unless_told(machine):
    before = machine.contents()
    shown = machine.tune(status=3)
    assert machine.contents() == before and not (machine.root / "run").exists()
    for part in ("would    /proc/sys/net/core/somaxconn: 128 -> 1024", "good     /proc/sys/net/core/netdev_max_backlog",
                 "would    /proc/irq/24/smp_affinity_list: 0-3 -> 0", "would    ethtool -G eth0 rx 4096 (now 256",
                 "good     /sys/class/net/eth0/queues/rx-1/rps_cpus = f", "clock source is hpet", "isolcpus="):
        assert part in shown, shown


def test_apply_then_all_is_good_then_undo(machine):
    before = machine.contents()
    machine.tune("--apply")
    after = machine.contents()
    assert {path: value for path, value in after.items() if before[path] != value} == {
        "proc/sys/net/core/somaxconn": "1024",
        "proc/sys/net/core/rmem_max": "4194304",
        "proc/irq/24/smp_affinity_list": "0",
        "proc/irq/25/smp_affinity_list": "1",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
        "sys/class/net/eth0/queues/rx-0/rps_cpus": "0000000f",
        "sys/class/net/eth0/queues/tx-0/xps_cpus": "00000001",
        "rx": "4096", "adaptive-rx": "off", "rx-usecs": "0",
    }
    assert "would" not in machine.tune()  # exit status 0: nothing to do
    machine.tune("--undo")
    assert machine.contents() == before
    assert not (machine.root / "run/timeball-tune").exists()
    assert "nothing to undo" in machine.tune("--undo")


def test_applied_twice_it_still_knows_how_it_was(machine):
    before = machine.contents()
    machine.tune("--apply")
    machine.tune("--apply", "--cpus", "2-3")
    after = machine.contents()
    assert after["proc/irq/24/smp_affinity_list"] == "2" and after["proc/irq/25/smp_affinity_list"] == "3"
    assert after["sys/class/net/eth0/queues/rx-0/rps_cpus"] == "00000000"  # two queues for two CPUs
    machine.tune("--undo")
    assert machine.contents() == before


def test_what_is_refused_is_said_and_the_rest_is_done(machine):
    path = machine.root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    path.unlink()
    path.symlink_to("/proc/version")  # which nobody can write
    shown = machine.tune("--apply", status=1)
    assert "refused  /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor" in shown
    assert (machine.root / "proc/irq/24/smp_affinity_list").read_text() == "0\n"


def test_more_than_32_cpus(machine):
    machine.tune("--apply", "--cpus", "1,33")
    assert (machine.root / "sys/class/net/eth0/queues/tx-1/xps_cpus").read_text() == "00000002,00000000\n"


@pytest.mark.parametrize("arguments,word", [(["--cpus", "one"], "not a list of CPUs"), (["--wrong"], "--apply"),
                                            (["--interface", "eth9"], "no interface eth9")])
def test_wrong_command_lines(machine, arguments, word):
    assert word in machine.tune(*arguments, status=2)
