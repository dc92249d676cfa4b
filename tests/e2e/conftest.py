"""Fixtures: lab certificates, and daemons that tests share.

With TIMEBALL_XDP=1 in the environment every daemon is on another host, a network namespace at the end of a veth pair,
and serves it by AF_XDP."""
import pytest

import daemon as daemons
import ntslib as nts
import veth

collect_ignore = []
if daemons.OVER_XDP:
    veth.enter_new_namespace()
else:
    collect_ignore.append("test_xdp.py")


def pytest_sessionfinish():
    for d in daemons.Daemon.started:
        if d.host:
            d.host.close()


def pytest_make_parametrize_id(val):
    """Octets in a test's name: how many, and how they begin."""
    return f"{len(val)}_octets_{val[:6].hex()}" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return daemons.LabCertificates(str(tmp_path_factory.mktemp("certificates")),
                                   addresses=(daemons.HOST, daemons.HOST6))


@pytest.fixture
def shim(tmp_path):
    """Faults from inside, for one daemon: start(environment=shim.environment())."""
    return daemons.Shim(str(tmp_path))


@pytest.fixture(scope="session")
def start(tmp_path_factory, certificates):
    """Makes a daemon with the settings given, not yet started: `with start({...}) as d:`."""
    made = []

    def make(settings=None, **options):
        d = daemons.Daemon(tmp_path_factory.mktemp("daemon"), certificates, settings, **options)
        made.append(d)
        return d

    yield make
    for d in made:
        if d.process is not None:
            d.kill()


@pytest.fixture(scope="session")
def shared_daemon(start):
    with start() as d:
        yield d


@pytest.fixture
def daemon(shared_daemon):
    """The daemon most tests share: no limits, kernel clock trusted, keys in a file."""
    assert shared_daemon.process.poll() is None, f"the daemon has died:\n{shared_daemon.log()}"
    yield shared_daemon
    assert shared_daemon.process.poll() is None, f"the daemon has died:\n{shared_daemon.log()}"
    shared_daemon.check_log()


@pytest.fixture(scope="session")
def custom_daemon(start):
    """Everything that NTS-KE lets one configure, set otherwise."""
    with start({"nts_ke.aeads": [17, 16, 15, 30], "nts_ke.gcm_siv_without_record_1024": True,
                "nts_ke.server": "ntp.time.test", "nts_ke.port": 10123}) as d:
        yield d


@pytest.fixture(scope="session")
def kiss_daemon(start):
    """Four requests an address, then RATE for plain ones."""
    with start({"rate_limit.enabled": True, "rate_limit.action": "kiss", "rate_limit.burst": 4,
                "rate_limit.interval": "1h", "rate_limit.let_through": 0, "ntp.shards": 1}) as d:
        yield d


@pytest.fixture(scope="session")
def strict_daemon(start):
    with start({"ntp.require_nts": True}) as d:
        yield d


@pytest.fixture(scope="session")
def symmetric_daemon(start):
    with start({"ntp.symmetric_active": True}) as d:
        yield d


@pytest.fixture(scope="session")
def old_keys_daemon(start):
    """A daemon and its keys, which we chose: identifiers around the wrap, four older generations."""
    d = start()
    keys = daemons.KeyFile.make(1, old=4)
    keys.write(d.key_file)
    with d:
        yield d, keys


@pytest.fixture
def ntp(daemon):
    with daemon.ntp() as s:
        yield s


@pytest.fixture(scope="session")
def _wells():
    return {}


@pytest.fixture
def association(daemon, _wells):
    """association(aead): an association with at least one cookie; NTS-KE only when there is none."""

    def get(aead=nts.SIV256):
        if aead not in _wells or len(_wells[aead].cookies) < 1:
            _wells[aead] = daemon.associate(aead)
        return _wells[aead]

    return get
