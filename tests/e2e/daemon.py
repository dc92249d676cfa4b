"""Starts, watches and stops the real daemon for the tests of this folder."""
import array
import contextlib
import datetime
import hashlib
import http.client
import ipaddress
import itertools
import os
import random
import re
import resource
import signal
import socket
import ssl
import struct
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

import ntslib as nts
import veth

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("TIMEBALL_BUILD", os.path.join(ROOT, "build")))
BINARY = os.path.join(BUILD, "server", "timeballd")
TOOL = os.path.join(BUILD, "server", "timeball")
# In tests/e2e/conftest.py: with this, every daemon is on a host of its own, which it serves by AF_XDP.
OVER_XDP = bool(os.environ.get("TIMEBALL_XDP"))
HOST, HOST6 = (veth.SERVER, veth.SERVER6) if OVER_XDP else ("127.0.0.1", "::1")
MORE_HOSTS = veth.MORE_SERVERS if OVER_XDP else ("127.0.0.2", "127.9.8.7")  # its other addresses
SERVER_NAME = "time.test"
with open(BINARY, "rb") as _binary:
    ASAN = b"__asan_init" in _binary.read()
VIOLATION = re.compile(r"sandbox: forbidden system call (\w+).*")
SANITIZER_REPORT = re.compile(r"ERROR: \w+Sanitizer|runtime error:|LeakSanitizer|Assertion .* failed")


# --- Certificates ----------------------------------------------------------------------------------


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def _certificate(subject, key, issuer, issuer_key, ca, names=(), days=90):
    now = datetime.datetime.utcnow() + datetime.timedelta(days=min(days, 0))
    builder = (x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(issuer))
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now - datetime.timedelta(days=1))
               .not_valid_after(now + datetime.timedelta(days=max(days, 0)))
               .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(*certificates):
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


class LabCertificates:
    """Root, intermediate and server certificate, so that a missing chain is noticed. days: how long it is still good;
    negative: how long ago it expired."""

    def __init__(self, directory, names=None, is_rsa=False, days=90, addresses=(HOST, HOST6), subject=None):
        os.makedirs(directory, exist_ok=True)
        self.ca = os.path.join(directory, "ca.pem")
        self.chain = os.path.join(directory, "chain.pem")
        self.key = os.path.join(directory, "key.pem")
        root_key, middle_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        if is_rsa:
            key = rsa.generate_private_key(65537, 2048)
        root = _certificate("Lab root", root_key, "Lab root", root_key, True)
        middle = _certificate("Lab intermediate", middle_key, "Lab root", root_key, True)
        self.name = names[0] if names else SERVER_NAME
        alternatives = [x509.DNSName(name) for name in names or [SERVER_NAME]]
        if not names:
            alternatives += [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
        leaf = _certificate(self.name if subject is None else subject, key, "Lab intermediate", middle_key, False, alternatives, days)
        for path, octets in ((self.ca, _pem(root)), (self.chain, _pem(leaf, middle))):
            with open(path, "wb") as f:
                f.write(octets)
        with os.fdopen(os.open(self.key, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
            f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption()))


# --- The key file ----------------------------------------------------------------------------------


class KeyFile:
    """The daemon's key file, read and written by a second hand (server/master_key_store.h)."""

    def __init__(self, generations, rotated):
        self.generations = generations  # (identifier, key), newest first: next, current, old ...
        self.rotated = rotated

    @classmethod
    def make(cls, current_id, old=0, rotated=None):
        """Random keys; identifiers count down from the next key's, current_id + 1."""
        ids = [(current_id + 1 - i) & 0xFFFFFFFF for i in range(old + 2)]
        return cls([(i, os.urandom(32)) for i in ids], int(time.time()) if rotated is None else rotated)

    @classmethod
    def read(cls, path):
        with open(path, encoding="ascii") as f:
            lines = f.read().splitlines()
        assert lines[0] == "timeball-master-keys 1", lines[0]
        rotated = int(lines[1].split()[1])
        rows = [line.split() for line in lines[2:-1]]
        assert [r[0] for r in rows] == ["next", "current"] + ["old"] * (len(rows) - 2), lines
        return cls([(int(i, 16), bytes.fromhex(k)) for _, i, k in rows], rotated)

    def text(self):
        roles = ["next", "current"] + ["old"] * (len(self.generations) - 2)
        text = f"timeball-master-keys 1\nrotated {self.rotated}\n"
        for role, (identifier, key) in zip(roles, self.generations):
            text += f"{role} {identifier:08x} {key.hex()}\n"
        return text + f"sha256 {hashlib.sha256(text.encode()).hexdigest()}\n"

    def write(self, path, mode=0o600):
        write_file(path, self.text().encode(), mode)

    @property
    def next(self):
        return self.generations[0]

    @property
    def current(self):
        return self.generations[1]

    def key(self, identifier):
        return dict(self.generations)[identifier]


def write_file(path, octets, mode=0o600):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, mode), "wb") as f:
        os.fchmod(f.fileno(), mode)
        f.write(octets)


def cookie_key_id(cookie):
    return int.from_bytes(cookie[:4], "big")


def cookie_nonce(cookie):
    return cookie[4:20]


def seal_cookie(generation, association):
    """A cookie as the daemon makes it (common/nts/cookie.h)."""
    identifier, key = generation
    head, nonce = identifier.to_bytes(4, "big"), os.urandom(16)
    return head + nonce + nts.siv_seal(key, nonce, head, association.c2s + association.s2c)


def open_cookie(key, cookie):
    """C2S and S2C keys."""
    keys = nts.siv_open(key, cookie[4:20], cookie[:4], cookie[20:])
    return keys[: len(keys) // 2], keys[len(keys) // 2 :]


def made_up_association(generation, aead=nts.SIV256, cookies=1):
    """An association that no NTS-KE made: whoever shares the key store may issue cookies."""
    length = nts.KEY_LENGTH[aead]
    association = nts.Association(aead, os.urandom(length), os.urandom(length))
    association.cookies = [seal_cookie(generation, association) for _ in range(cookies)]
    return association


# --- The daemon ------------------------------------------------------------------------------------


# below the range the kernel gives to clients; a cycle, for a port drawn twice would be another's that has yet to bind it
ports = itertools.cycle(random.sample(range(20000, 32001), 12001))


def free_port():
    """A port free on TCP and UDP, both families."""
    for port in ports:
        with contextlib.ExitStack() as stack:
            try:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    s = stack.enter_context(socket.socket(socket.AF_INET6, kind))
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                    s.bind(("::", port))
                return port
            except OSError:
                continue


def ours(number):
    """An IPv4 address of this host, of which each test may have its own; 2 to 99."""
    return f"192.0.2.{number}" if OVER_XDP else f"127.0.0.{number}"


def toml_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return str(value) if isinstance(value, int) else '"' + value.replace("\\", "\\\\") + '"'


def wait_for(condition, timeout=15.0, what="condition"):
    """Polls; returns what the condition gave. What it waits for may be a function, asked when it is too late."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"timed out: {what() if callable(what) else what}"
        time.sleep(0.02)


class Daemon:
    """One running daemon with a configuration of its own. Settings: "section.key" = value."""

    started = []

    def __init__(self, directory, certificates, settings=None, refclock=None, environment=None,
                 descriptors=None, wrapper=(), https=None):
        self.directory = str(directory)
        self.certificates = certificates
        self.ntp_port, self.ke_port, self.admin_port = free_port(), free_port(), free_port()
        self.ntp_address = HOST  # where it is asked whether it is up
        self.key_file = os.path.join(self.directory, "master-keys")
        self.log_file = os.path.join(self.directory, "log")
        self.config_file = os.path.join(self.directory, "timeball.toml")
        self.settings = {
            "ntp.listen": [f"0.0.0.0:{self.ntp_port}", f"[::]:{self.ntp_port}"],
            "ntp.shards": 2,
            "nts_ke.listen": [f"0.0.0.0:{self.ke_port}", f"[::]:{self.ke_port}"],
            "nts_ke.certificate": certificates.chain,
            "nts_ke.private_key": certificates.key,
            "nts_ke.threads": 2,
            "nts_ke.max_connections_per_address": 1000,
            "nts_ke.rate_per_address": 0,
            "nts_ke.deadline": "20s",  # a fifth of it is the patience with who waits to be accepted
            "keys.file": self.key_file,
            "rate_limit.refusals_per_second": 100000,
            "admin.listen": f"{HOST}:{self.admin_port}",
            "admin.socket": os.path.join(self.directory, "control"),
            "process.user": "root",  # where root runs the tests; others stay who they are
            **(settings or {}),
        }
        self.host = None  # its own, if it has one
        if OVER_XDP:
            self.host = veth.Veth((self.ntp_port, self.ke_port, self.admin_port))
            self.settings = {"ntp.io": "xdp", "ntp.xdp_interfaces": [self.host.interface], **self.settings}
        one = {"driver": "system", "trust": True, "stratum": 10} if refclock is None else refclock
        self.refclocks = one if isinstance(one, list) else [one]
        self.environment = environment or {}
        self.descriptors = descriptors
        self.wrapper = [*(self.host.wrapper if self.host else []), *wrapper]
        self.https = https  # certificates, when the admin listener has some
        self.process = None

    def write_config(self):
        sections = {}
        for path, value in self.settings.items():
            section, key = path.split(".")
            sections.setdefault(section, {})[key] = value
        with open(self.config_file, "w", encoding="ascii") as f:
            for section, keys in sections.items():
                f.write(f"[{section}]\n" + "".join(f"{k} = {toml_value(v)}\n" for k, v in keys.items()))
            for section in self.refclocks:
                f.write("[[refclock]]\n" + "".join(f"{k} = {toml_value(v)}\n" for k, v in section.items()))

    def check(self):
        """What `timeballd --check` says of the configuration."""
        self.write_config()
        return subprocess.run([BINARY, "--config", self.config_file, "--check"], capture_output=True,
                              text=True, timeout=30)

    def spawn(self):
        """Starts it without waiting for anything."""
        self.write_config()
        environment = {**os.environ, **self.environment}
        environment.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
        environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([*self.wrapper, BINARY, "--config", self.config_file],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=environment, preexec_fn=self._limit)
        Daemon.started.append(self)
        return self

    def _limit(self):
        if self.descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    def start(self):
        self.spawn()
        wait_for(self._ready, what=lambda: f"daemon ready; its log:\n{self.log()}")
        return self

    def _ready(self):
        if self.process.poll() is not None:
            self.check_log()
            raise AssertionError(f"ended with {self.process.returncode}:\n{self.log()}")
        if not self.settings["ntp.listen"]:  # NTS-KE only
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.ke_port)):
                return self.get("/healthz")[0] in (200, 503)
            return False
        with contextlib.suppress(OSError), nts.NtpSocket(self.ntp_address, self.ntp_port) as s:
            s.socket.connect(s.target)
            s.socket.send(bytes(1))  # refused at once when nobody listens
            time.sleep(0.01)
            s.socket.send(bytes(1))
            return self.get("/healthz")[0] in (200, 503)
        return False

    def stop(self):
        """SIGTERM; the daemon must end in order and without a sanitizer's report."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"did not stop on SIGTERM:\n{self.log()}") from None
        self.check_log()
        assert status == 0, f"exit status {status}:\n{self.log()}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def restart(self):
        self.stop()
        return self.start()

    def log(self):
        with open(self.log_file, encoding="utf-8", errors="replace") as f:
            return f.read()

    def check_log(self):
        violation = VIOLATION.search(self.log())
        assert not violation, f"{violation.group()}\n{self.log()}"
        assert not SANITIZER_REPORT.search(self.log()), self.log()

    def ask(self, *words):
        """`timeball keys show` and its kin, of this daemon."""
        return subprocess.run([TOOL, *words, "--socket", self.settings["admin.socket"]], capture_output=True,
                              text=True, timeout=30)

    def command(self, *words):
        """What it printed; it must succeed."""
        done = self.ask(*words)
        assert done.returncode == 0 and not done.stderr, done
        return done.stdout

    # What it serves.

    def get(self, path):
        connection = http.client.HTTPConnection(HOST, self.admin_port, timeout=5)
        if self.https:
            context = ssl.create_default_context(cafile=self.https.ca)
            connection = http.client.HTTPSConnection(HOST, self.admin_port, timeout=5, context=context)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metrics(self):
        """{"name{label="value"}": number} of everything on /metrics."""
        status, text = self.get("/metrics")
        assert status == 200
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in rows}

    def metric(self, name, **labels):
        """The sum over every series of this name that has these labels."""
        wanted = [f'{k}="{v}"' for k, v in labels.items()]
        found = [value for series, value in self.metrics().items()
                 if series.split("{")[0] == name and all(w in series for w in wanted)]
        assert found, f"no metric {name} with {wanted}"
        return sum(found)

    def threads(self, name, count):
        """The ids of its threads of that name, once there are so many: each names itself once it is set up."""
        tasks = f"/proc/{self.process.pid}/task"

        def found():
            ids = []
            for task in os.listdir(tasks):
                with open(f"{tasks}/{task}/comm", encoding="ascii") as f:
                    if f.read().strip() == name:
                        ids.append(int(task))
            return sorted(ids) if len(ids) == count else None
        return wait_for(found, what=f"{count} threads of the name {name}")

    def verdict(self, verdict):
        return int(self.metric("timeball_requests_total", verdict=verdict))

    def expect_verdict(self, verdict, count):
        """A batch is counted behind its replies: hence a little patience."""
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self.verdict(verdict) == count, 3)
        assert self.verdict(verdict) == count, verdict

    def ntp(self, address=None, source=None):
        return nts.NtpSocket(address or self.ntp_address, self.ntp_port, source)

    def ke(self, request, address=HOST, **options):
        return nts.key_exchange(address, self.ke_port, request, **options)

    def ke_error(self, request, **options):
        """The code of the Error record that must be the answer, with all that line 28 asks for."""
        result = self.ke(request, **options)
        assert [(r.type, r.critical) for r in result.records] == [(nts.ERROR, True), (nts.EOM, True)], \
            result.records
        assert len(result.records[0].body) == 2 and result.records[1].body == b""
        assert result.stream.close_notify, "no close_notify behind the Error"
        return result.error

    def associate(self, aead=nts.SIV256, address=HOST, **options):
        """NTS-KE for one algorithm."""
        association = self.ke(nts.ke_request([aead]), address, **options).association()
        assert association.aead == aead
        return association


# --- A look into its memory ------------------------------------------------------------------------


def memory(pid):
    """(the mapping's VmFlags, octets) of all that there is in memory or swap and can be read; by root only, as a rule."""
    try:
        mem, pages = open(f"/proc/{pid}/mem", "rb"), open(f"/proc/{pid}/pagemap", "rb")
    except PermissionError:
        pytest.skip("a daemon that is not dumpable shows its memory to root alone: run this as root")
    with mem, pages, open(f"/proc/{pid}/smaps", encoding="utf-8") as f:
        mappings = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) r.*?^VmFlags: ([a-z0-9 ]*)$", f.read(), re.M | re.S)
        for low, high, flags in mappings:
            low, high = int(low, 16), int(high, 16)
            if high - low > 1 << 30:
                continue  # ASan's shadow, which holds no octets of ours
            with contextlib.suppress(OSError, ValueError):  # [vsyscall]
                for start, length in touched(pages, low, high):
                    mem.seek(start)
                    yield set(flags.split()), mem.read(length)


def touched(pages, low, high):
    """(address, length) of each run of pages that were ever written or read: the rest only takes time."""
    page = resource.getpagesize()
    pages.seek(low // page * 8)
    entries = array.array("Q", pages.read((high - low) // page * 8))
    at = low
    for used, run in itertools.groupby(entry >> 62 != 0 for entry in entries):  # present, or swapped
        length = len(list(run)) * page
        if used:
            yield at, length
        at += length


def traces(key):
    """What may be left of a key: itself, either half (the AES keys of SIV), its text in the key file."""
    text = key.hex().encode()
    half = len(key) // 2
    return {key, key[:half], key[half:], text[: 2 * half], text[2 * half :]}


def in_memory(pid, needles):
    return {n for _, block in memory(pid) for n in needles if n in block}


# --- Faults from inside ----------------------------------------------------------------------------


# The shim makes OpenSSL fail: so that the daemon's own kernels do not do its work.
ALL_BY_OPENSSL = {"crypto.implementation": "portable"}


def sanitizer_runtime():
    """ASan's runtime, where it is a library, must be loaded before anything else."""
    libraries = subprocess.run(["ldd", BINARY], capture_output=True, text=True, check=True).stdout
    sanitizer = re.search(r"lib(?:clang_rt\.)?asan\S* => (\S+)", libraries)
    return [sanitizer[1]] if sanitizer else []


class Shim:
    """Preloads shim.c into a daemon: a clock that is stepped, an OpenSSL that fails."""

    FORMAT = "=qIIIIII"
    SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shim.c")

    def __init__(self, directory):
        self.library = os.path.join(directory, "shim.so")
        self.control = os.path.join(directory, "control")
        self.calls_file = os.path.join(directory, "calls")
        subprocess.run(["cc", "-O1", "-fPIC", "-shared", "-o", self.library, self.SOURCE, "-ldl"], check=True)
        self.set()

    def set(self, clock_offset_s=0, fail_export=False, fail_encrypt_one_in=0, ignore_core_limit=False,
            ignore_dumpable=False, call_chroot=False, fake_adjtime=False):
        octets = struct.pack(self.FORMAT, clock_offset_s, fail_export, fail_encrypt_one_in, ignore_core_limit,
                             ignore_dumpable, call_chroot, fake_adjtime)
        with open(self.control, "r+b" if os.path.exists(self.control) else "wb") as f:
            f.write(octets)

    def environment(self, recording=True):
        """recording: calls() tells. Not where a clock helper is forked, which has its socket where the record was."""
        log = {"TIMEBALL_SHIM_LOG": self.calls_file} if recording else {}
        return {"LD_PRELOAD": " ".join([*sanitizer_runtime(), self.library]), "TIMEBALL_SHIM": self.control, **log}

    def calls(self):
        """[["fsync", path], ["rename", from, to] ...]"""
        with open(self.calls_file, encoding="utf-8") as f:
            return [line.split() for line in f]
