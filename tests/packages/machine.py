"""A Debian 12 that boots with systemd as PID 1, in namespaces of its own (systemd-nspawn), without a network but loopback."""
import os
import signal
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb"}


def run(command, timeout=300, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Machine:
    def __init__(self, directory):
        self.directory = str(directory)
        os.makedirs(self.directory)
        self.console = self.directory + ".console"
        self.process = self.pid = None
        self.walked_s = 0.0  # of the manual's commands

    def prepare(self, packages, fetch=()):
        """Installs packages from the archive; of `fetch`, names or files, whatever they need is downloaded only."""
        self._chroot("apt-get", "-qq", "update")
        install = ("apt-get", "-qq", "-y", "--no-install-recommends", "install")
        self._chroot(*install, *packages)
        if fetch:
            self._chroot("apt-get", "-qq", "-y", "--download-only", "install", *fetch)

    def _chroot(self, *command):
        script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-c", script,
             self.directory, *command], env={**os.environ, **ENVIRONMENT}, timeout=600)

    def boot(self, seconds=120):
        with open(self.console, "wb") as console:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "systemd-nspawn", "--quiet", "--register=no",
                 "--keep-unit", "--private-network", "--machine=timeball-test", f"--directory={self.directory}",
                 "--console=pipe", "--boot"], stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        end = time.monotonic() + seconds
        while True:
            self.pid = self.pid or self._leader()
            if self.pid and self.try_("systemctl is-system-running").stdout.strip() in ("running", "degraded"):
                return self
            assert self.process.poll() is None and time.monotonic() < end, \
                "systemd did not boot here:\n" + open(self.console, errors="replace").read()[-3000:]
            time.sleep(0.3)

    def _leader(self):
        """Its PID 1, as we see it."""
        children = [self.process.pid]
        for pid in children:
            try:
                with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                    children += [int(child) for child in f.read().split()]
                with open(f"/proc/{pid}/comm", encoding="ascii") as f:
                    if f.read().strip() == "systemd":
                        return pid
            except OSError:
                pass
        return None

    def try_(self, script, timeout=120, **options):
        """A shell script, as root, in the machine."""
        return subprocess.run(["nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                               "--root", "--wd", "bash", "-c", "cd /root && " + script], capture_output=True, text=True,
                              timeout=timeout, env=ENVIRONMENT, **options)

    def do(self, script, **options):
        done = self.try_(script, **options)
        assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def in_network(self, *command, **options):
        """A program of ours, on the machine's loopback."""
        return subprocess.Popen(["nsenter", f"--target={self.pid}", "--net", *command], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True, **options)

    def halt(self):
        if self.process is None:
            return
        if self.pid:
            os.kill(self.pid, signal.SIGRTMIN + 4)  # systemd: power off
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()  # and with its PID 1 everything in it
            self.process.wait()
