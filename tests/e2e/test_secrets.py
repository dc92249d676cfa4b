"""Key material: where it lies while it is in use, that nothing of it is left afterwards, and where it never is."""
import base64
import contextlib
import os
import resource
import signal

import pytest

import daemon as daemons
import ntslib as nts

# Not dumped, wiped in a fork, locked: the build that is deployed, as ASan makes nothing of mlock.
PROTECTED = {"dd", "wf"} if daemons.ASAN else {"dd", "wf", "lo"}


@contextlib.contextmanager
def known_keys(start, settings, **options):
    """A daemon whose keys we chose, and which turns them over when told to."""
    d = start({"keys.rotation": "30d", **settings}, **options)
    daemons.KeyFile.make(1, old=settings["keys.keep"]).write(d.key_file)
    with d:
        yield d


def keys_of(d):
    return [key for _, key in daemons.KeyFile.read(d.key_file).generations]


def work(d, per_aead=6):
    """Every AEAD, many flows: each shard and each NTS-KE thread has its hands full of keys. Returns the clients' keys."""
    used = []
    for aead in nts.AEADS:
        for _ in range(per_aead):
            a = d.associate(aead)
            used += [a.c2s, a.s2c]
            with d.ntp() as s:
                for _ in range(3):
                    s.nts(a)
    return used


def left_of(d, keys):
    found = daemons.in_memory(d.process.pid, {trace for key in keys for trace in daemons.traces(key)})
    return sorted(len(trace) for trace in found)


def expect_gone(d, keys):
    """Soon, though nobody asks the server anything any more."""
    with contextlib.suppress(AssertionError):
        daemons.wait_for(lambda: not left_of(d, keys), 3)
    assert left_of(d, keys) == [], "lengths of what is left"


@pytest.mark.parametrize("implementation,keep", [("auto", 1), ("auto", 3), ("portable", 1)])
def test_retired_keys_are_gone_from_idle_threads_too(start, implementation, keep):
    with known_keys(start, {"crypto.implementation": implementation, "keys.keep": keep}) as d:
        work(d)
        for _ in range(2):
            before = keys_of(d)
            assert set(before) <= daemons.in_memory(d.process.pid, set(before)), "cannot find live keys: the test is blind"
            d.command("keys", "rotate")
            retired = set(before) - set(keys_of(d))
            assert len(retired) == 1
            expect_gone(d, retired)
            work(d, per_aead=2)
        before = keys_of(d)
        d.command("keys", "rekey")
        expect_gone(d, before)
        work(d, per_aead=1)


@pytest.mark.parametrize("implementation", ["auto", "portable"])
def test_keys_in_use_are_locked_and_left_out_of_dumps(start, implementation):
    """Master keys, and of the clients' keys what the last batch left."""
    with known_keys(start, {"crypto.implementation": implementation, "keys.keep": 2}) as d:
        clients, masters = work(d, per_aead=3), keys_of(d)
        traces = {key[:16] for key in clients}.union(*(daemons.traces(key) for key in masters))
        found = set()
        for flags, block in daemons.memory(d.process.pid):
            here = {trace for trace in traces if trace in block}
            assert not here or PROTECTED <= flags, f"{len(here)} traces where the flags are {sorted(flags)}"
            found |= here
        assert set(masters) <= found, "cannot find live keys: the test is blind"


def test_memory_that_cannot_be_locked_is_one_warning(start):
    if daemons.ASAN:
        pytest.skip("built with ASan, which makes nothing of mlock")
    no_lock = ("prlimit", "--memlock=0:0")
    if os.geteuid() == 0:
        no_lock += ("setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock")
    with start(wrapper=no_lock) as d:
        work(d, per_aead=1)
        d.command("keys", "rotate")
        assert d.log().count("cannot be locked") == 1 and "LimitMEMLOCK" in d.log()
    with start() as d:
        assert "cannot be locked" not in d.log()


@pytest.fixture
def cores_allowed():
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    most = resource.RLIM_INFINITY if os.geteuid() == 0 else hard
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def dumps_core(d, shim, **ignored):
    """Whether the kernel wrote a core when it was aborted, wherever core_pattern sends it, or left a file."""
    shim.set(**ignored)
    d.wrapper = ["env", "-C", d.directory]
    before = set(os.listdir(d.directory))
    d.start()
    process, d.process = d.process, None
    process.send_signal(signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -os.WTERMSIG(status)
    assert process.returncode == -signal.SIGABRT
    new = set(os.listdir(d.directory)) - before
    return os.WCOREDUMP(status) or any("core" in name for name in new)


def test_no_core_dump(start, shim, cores_allowed):
    """Either of the two that forbid it is enough."""
    if daemons.ASAN:
        pytest.skip("built with ASan: LeakSanitizer needs a process that is dumpable")
    d = start(environment=shim.environment())
    if not dumps_core(d, shim, ignore_core_limit=True, ignore_dumpable=True):
        pytest.skip("this system writes no core of anybody's: run this where `ulimit -Hc` is not 0")
    assert not dumps_core(d, shim, ignore_core_limit=True)
    assert not dumps_core(d, shim, ignore_dumpable=True)
    assert not dumps_core(d, shim)


def test_keys_are_in_nothing_that_it_tells(start):
    """Log at its loudest, metrics, environment, command line, operator's commands; as octets, hexadecimal, base64."""
    with known_keys(start, {"log.level": "trace", "keys.keep": 2}) as d:
        keys, clients = set(keys_of(d)), work(d, per_aead=2)
        told = "".join(d.command("keys", *words) for words in (("show",), ("show", "--json"), ("verify",)))
        told += d.command("keys", "rotate")
        keys |= set(keys_of(d))
        told += d.command("keys", "rekey") + d.command("reload")
        keys |= set(keys_of(d))
        told += d.get("/metrics")[1] + d.get("/healthz")[1] + d.log()
        octets = told.encode()
        for name in ("environ", "cmdline", "comm"):
            with contextlib.suppress(PermissionError), open(f"/proc/{d.process.pid}/{name}", "rb") as f:
                octets += f.read()
        assert "%08x" % daemons.KeyFile.read(d.key_file).current[0] in told  # identifiers are
        for key in [*keys, *clients]:
            part = key[:12]
            for form in (part, part.hex().encode(), part.hex().upper().encode(), base64.b64encode(part)):
                assert form not in octets
