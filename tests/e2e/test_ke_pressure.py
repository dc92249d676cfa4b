"""NTS-KE under pressure: slow-loris clients, floods, no descriptors, connections that have waited for too long."""
import contextlib
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import time

import pytest

import daemon as daemons
import ntslib as nts
from daemon import HOST
from ntsload import load

STRANGER = "127.0.0.77"  # an address of its own


def ended(d, outcome):
    return d.metric("timeball_nts_ke_connections_total", outcome=outcome)


def connect(d, source=None):
    """A connection that says nothing."""
    return socket.create_connection((HOST, d.ke_port), 5, source and (source, 0))


def is_reset(connection, timeout=3.0):
    """Whether the server ends it, without a word, within this time."""
    connection.settimeout(timeout)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@contextlib.contextmanager
def flood(d, source):
    """Ten connections within a moment."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            with contextlib.suppress(ConnectionResetError):
                stack.enter_context(connect(d, source))
        yield


def refused_of_ten(d, outcome):
    """How many of that flood were, once each was refused or let in."""
    daemons.wait_for(lambda: ended(d, outcome) + d.metric("timeball_nts_ke_connections_open") == 10, what="all ten")
    return ended(d, outcome)


def stopped(d):
    """Whether each of its threads is."""
    tasks = f"/proc/{d.process.pid}/task"
    for task in os.listdir(tasks):
        with open(f"{tasks}/{task}/stat", encoding="ascii") as f:
            if f.read().rsplit(") ", 1)[1][0] != "T":
                return False
    return True


def raise_descriptors(wanted):
    """How many this process may have open now."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < wanted:
        print(f"ulimit -n is {hard}, not {wanted}: fewer connections")
    return min(hard, wanted)


# --- Slow-loris clients ----------------------------------------------------------------------------


HELLO = bytes.fromhex("16030102000100 01fc0303") + bytes(500)  # a ClientHello, as far as anybody gets to see it


def slow_loris(port, sources):
    """One connection from each source, again and again: an octet of a ClientHello each second."""
    raise_descriptors(len(sources) + 100)
    connections = {}  # by number: the connection, and how much it has sent

    def open_one(source):
        s = socket.socket()
        s.setblocking(False)
        s.bind((source, 0))
        with contextlib.suppress(BlockingIOError):
            s.connect((HOST, port))
        return s

    while True:
        begun = time.monotonic()
        for i, source in enumerate(sources):
            s, sent = connections.setdefault(i, (None, 0))
            try:
                if s is None:
                    connections[i] = (open_one(source), 0)
                else:
                    connections[i] = (s, sent + s.send(HELLO[sent : sent + 1]))
            except BlockingIOError:  # on its way still
                pass
            except OSError:
                s.close()
                connections[i] = (None, 0)
        time.sleep(max(0, begun + 1 - time.monotonic()))


@contextlib.contextmanager
def slow_clients(d, sources):
    """With all places taken by them: the first has given way."""
    process = multiprocessing.Process(target=slow_loris, args=(d.ke_port, sources), daemon=True)
    process.start()
    try:
        daemons.wait_for(lambda: ended(d, "evicted") > 0, 60, "the slow clients to fill it")
        yield
        assert process.is_alive()
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("spread", [True, False], ids=["many_addresses", "one_address"])
def test_slow_loris_clients_do_not_stop_an_honest_one(start, spread):
    """5,000 at once, more than there are places for."""
    count = raise_descriptors(5_200) - 200
    places = min(4096, count - count // 5)
    sources = [f"127.{100 + i // 60_000}.{i // 250 % 240}.{1 + i % 250}" for i in range(count)]
    if not spread:
        sources = ["127.100.0.1"] * count
    settings = {"nts_ke.deadline": "20s",  # so that slow machines have so many at a time, too
                "nts_ke.max_connections": places, "nts_ke.max_connections_per_address": 64,
                "nts_ke.rate_per_address": 20, "nts_ke.threads": 2}
    full = places if spread else 64
    with start(settings) as d, d.ntp() as s, slow_clients(d, sources):
        for i in range(8):
            begun = time.monotonic()
            d.associate(source=(f"127.0.1.{i + 1}", 0), timeout=10.0)
            print(f"an honest client took {1000 * (time.monotonic() - begun):.0f} ms")
            s.plain()
            time.sleep(0.4)
        assert 0.5 * full <= d.metric("timeball_nts_ke_connections_open") <= full + 8


def test_slow_loris_client_is_ended_by_the_deadline(start):
    with start({"nts_ke.deadline": "1s"}) as d, connect(d) as c:
        begun = time.monotonic()
        while time.monotonic() < begun + 5:
            try:
                c.send(b"\x16")
                time.sleep(0.1)
            except OSError:
                break
        assert time.monotonic() - begun < 4, "it may go on for ever"
        daemons.wait_for(lambda: ended(d, "deadline") + ended(d, "tls_failure") == 1, what="it to be counted")


# --- Rates -----------------------------------------------------------------------------------------


def test_rate_of_an_address(start):
    with start({"nts_ke.rate_per_address": 1, "nts_ke.burst_per_address": 3, "nts_ke.busy_after": "0s",
                "nts_ke.threads": 1}) as d:
        d.associate(source=(STRANGER, 0))
        with flood(d, STRANGER):
            assert 5 <= refused_of_ten(d, "refused_address_rate") <= 8  # 2 of the burst of 3 are left, then 1 a second
        d.associate()
        d.associate(address=daemons.HOST6)
        time.sleep(1.1)
        d.associate(source=(STRANGER, 0))


def test_rate_of_an_address_leaves_a_server_alone_that_is_not_busy(start):
    with start({"nts_ke.rate_per_address": 1, "nts_ke.burst_per_address": 3, "nts_ke.busy_after": "3s",
                "nts_ke.deadline": "30s"}) as d:
        for _ in range(10):
            d.associate()


def test_rate_in_all(start):
    with start({"nts_ke.rate": 1, "nts_ke.burst": 3}) as d:
        d.associate(source=("127.0.0.10", 0))
        with flood(d, STRANGER):
            assert 5 <= refused_of_ten(d, "refused_rate") <= 8
        assert "refused_rate" in d.log()


# --- Waiting ---------------------------------------------------------------------------------------


def test_who_has_waited_for_too_long_is_refused_and_who_has_gone_costs_nothing(start):
    with start({"nts_ke.deadline": "5s", "nts_ke.threads": 1}) as d, contextlib.ExitStack() as stack:
        os.kill(d.process.pid, signal.SIGSTOP)
        daemons.wait_for(lambda: stopped(d), what="it to stop")
        waiting = [stack.enter_context(connect(d)) for _ in range(5)]
        for c in waiting[:2]:
            c.close()
        time.sleep(1.5)  # the patience is 1 s
        os.kill(d.process.pid, signal.SIGCONT)
        assert all(is_reset(c) for c in waiting[2:])
        assert ended(d, "refused_wait") == 3
        assert ended(d, "closed_early") == 2
        d.associate()


# --- Descriptors -----------------------------------------------------------------------------------


@contextlib.contextmanager
def no_more_descriptors(d):
    """As many as are open, and no more."""
    before = resource.prlimit(d.process.pid, resource.RLIMIT_NOFILE)
    time.sleep(0.3)  # for what is being closed
    taken = set(map(int, os.listdir(f"/proc/{d.process.pid}/fd")))
    free = min(set(range(len(taken) + 1)) - taken)
    resource.prlimit(d.process.pid, resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.prlimit(d.process.pid, resource.RLIMIT_NOFILE, before)


def cpu_time(d):
    with open(f"/proc/{d.process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def test_descriptors_exhausted_and_recovered(start):
    with start({"nts_ke.threads": 1, "ntp.shards": 1}) as d, d.ntp() as s:
        association = d.associate()
        daemons.wait_for(lambda: d.metric("timeball_nts_ke_connections_open") == 0, what="quiet")
        began = time.monotonic()
        with no_more_descriptors(d):
            before = cpu_time(d)
            with connect(d) as pending:
                for _ in range(10):
                    s.nts(association)
                    time.sleep(0.1)
                assert not is_reset(pending, 0.1)
                used = cpu_time(d) - before
        assert used < 0.5, f"spins: {used} s of CPU time in 1.1 s"
        assert 0 < ended(d, "accept_error") < 20 * (time.monotonic() - began) + 15
        assert d.get("/healthz")[0] == 200
        d.command("keys", "verify")
        daemons.wait_for(lambda: ended(d, "closed_early") == 1, what="the one that waited to be taken and left")
        d.associate()
        assert len(d.log().splitlines()) < 40, d.log()


def test_who_is_slow_gives_its_descriptor_to_a_newcomer(start):
    settings = {"nts_ke.threads": 1, "ntp.shards": 1, "nts_ke.deadline": "10s"}
    with start(settings) as d, contextlib.ExitStack() as stack:
        d.associate()  # UBSan checks each type at its first use, and takes a pipe for it
        # Several: only the descriptors below the limit are of use, and one may stand above it.
        slow = [stack.enter_context(connect(d)) for _ in range(10)]
        daemons.wait_for(lambda: d.metric("timeball_nts_ke_connections_open") == 10, what="them to be taken")
        time.sleep(0.3)  # the patience with the silent is 0.1 s
        with no_more_descriptors(d):
            d.associate(timeout=5.0)
        assert is_reset(slow[0])
        assert 1 <= ended(d, "evicted") < 10


def test_few_descriptors_are_kept_for_the_operator(start):
    """Too few for max_connections: said, and /metrics and the commands go on while NTS-KE is full."""
    with start({"nts_ke.threads": 1, "ntp.shards": 1, "nts_ke.deadline": "60s"}, descriptors=100) as d:
        assert "nts_ke.max_connections = 4096: there are descriptors for" in d.log()
        with contextlib.ExitStack() as stack:
            for _ in range(150):
                with contextlib.suppress(ConnectionResetError):
                    stack.enter_context(connect(d))
            daemons.wait_for(lambda: ended(d, "refused_total") + ended(d, "evicted") +
                             d.metric("timeball_nts_ke_connections_open") == 150, what="refusals")
            assert 10 < d.metric("timeball_nts_ke_connections_open") < 100
            assert ended(d, "accept_error") == 0
            d.command("keys", "rotate")
            with d.ntp() as s:
                s.plain()
        daemons.wait_for(lambda: d.metric("timeball_nts_ke_connections_open") == 0, what="NTS-KE to resume")
        d.associate()


# --- Memory ----------------------------------------------------------------------------------------


def resident(d):
    with open(f"/proc/{d.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def test_memory_is_flat_over_repeated_load(start):
    """Handshakes, slow clients and clients that reset, in turn: nothing is left behind."""
    sanitized = "libasan" in subprocess.run(["ldd", daemons.BINARY], capture_output=True, text=True, check=True).stdout \
        or b"__asan_init" in open(daemons.BINARY, "rb").read()
    with start({"nts_ke.threads": 1}) as d:
        sizes = []
        for _ in range(6):
            for options in (("--connections", 20), ("--connections", 5, "--slow", 100), ("--close", "abrupt")):
                load("ke", f"{HOST}:{d.ke_port}", "--duration", "300ms", "--warm-up", "0s", *options)
            daemons.wait_for(lambda: d.metric("timeball_nts_ke_connections_open") == 0, what="quiet")
            sizes.append(resident(d))
        print([f"{s >> 10} KiB" for s in sizes])
        # A sanitizer keeps what is freed; at the end it looks for leaks itself. The heap has its size after three rounds.
        assert sanitized or sizes[-1] < 1.05 * sizes[2] + (1 << 20), sizes
