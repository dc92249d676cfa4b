"""Debian's real Prometheus and a server's metrics: the scrape, the rules, the dashboard's queries; and every alert, by what
causes it where that can be had in seconds, else by made-up series."""
import contextlib
import hashlib
import http.server
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import daemon as daemons
import ntslib as nts
import ntsload
import pytest
import rack as racks
import yaml
from daemon import wait_for
from etcd import Etcd
from prometheus import DEPLOY, WINDOW, Prometheus, promtool

RULES = DEPLOY / "prometheus"
KEYS = "/timeball/lab/keys"
DAY = 86400
NTP_EPOCH = 2208988800


def alert_rules():
    groups = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def panels():
    return json.loads((DEPLOY / "grafana" / "timeball.json").read_text())["panels"]


def queries():
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel.get("targets", [])]


# --- What promtool says ----------------------------------------------------------------------------


def test_promtool_check_rules():
    done = promtool("check", "rules", RULES / "alerts.yml", RULES / "rules.yml")
    assert done.returncode == 0 and not done.stderr, done


def test_promtool_check_config():
    done = promtool("check", "config", RULES / "scrape.yml")
    assert done.returncode == 0 and not done.stderr, done


def test_promtool_test_rules_and_none_is_left_out():
    tested = {test["name"] for test in yaml.safe_load((RULES / "alerts_test.yml").read_text())["tests"]}
    assert tested == set(alert_rules())
    done = promtool("test", "rules", "alerts_test.yml", cwd=RULES)
    assert done.returncode == 0, done.stdout + done.stderr


# --- The documents hold together -------------------------------------------------------------------


def test_alerts_runbook_and_dashboard_hold_together():
    manual = (DEPLOY / "OPERATIONS.md").read_text()
    anchors = {line[4:].replace(" ", "-") for line in manual.splitlines() if line.startswith(("### alarm ", "### alert "))}
    linked = set()
    for name, rule in alert_rules().items():
        page, anchor = rule["annotations"]["runbook_url"].split("#")
        assert page == "deploy/OPERATIONS.md"
        linked.add(anchor)
        assert rule["labels"]["severity"] in ("critical", "major", "minor"), name
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, name
        if "alarm" in rule["labels"]:
            assert name == "Timeball" + rule["labels"]["alarm"].replace("-", " ").title().replace(" ", "")
            assert anchor == "alarm-" + rule["labels"]["alarm"]
    assert linked == anchors
    table = set(re.findall(r"^\| `(\w+)` \|", (DEPLOY / "METRICS.md").read_text(), re.M))
    texts = [query for _, query in queries()] + [(RULES / f).read_text() for f in ("alerts.yml", "rules.yml")]
    for name in re.findall(r"(?<![:\w])(?:timeball|process)_\w+(?![:\w])", "\n".join(texts)):
        assert re.sub(r"_bucket$", "", name) in table, name


def test_dashboard_is_well_formed():
    kinds = {"row", "timeseries", "stat", "state-timeline", "table", "bargauge"}
    document = json.loads((DEPLOY / "grafana" / "timeball.json").read_text())
    assert {v["name"] for v in document["templating"]["list"]} == {"datasource", "instance"}
    assert len({p["id"] for p in panels()}) == len(panels())
    taken = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] in kinds and panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({t["refId"] for t in panel["targets"]}) == len(panel["targets"]) > 0
        for target in panel["targets"]:
            assert 'instance=~"$instance"' in target["expr"], target


# --- A world to watch ------------------------------------------------------------------------------


def leap_file(path, expires, last=37):
    """leap-seconds.list of the last leap second there was; last: what TAI-UTC has been since."""
    updated, entries = NTP_EPOCH + int(time.time()) - DAY, [(3644697600, last - 1), (3692217600, last)]
    digits = f"{updated}{NTP_EPOCH + int(expires)}" + "".join(f"{at}{offset}" for at, offset in entries)
    words = struct.unpack(">5I", hashlib.sha1(digits.encode()).digest())
    lines = [f"#$\t{updated}", f"#@\t{NTP_EPOCH + int(expires)}", *(f"{at}\t{offset}" for at, offset in entries),
             "#h\t" + " ".join(f"{word:x}" for word in words)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


class Samples(racks.Background):
    """Another program that tells the time by chrony's SOCK, twice a second: rightly, or wrongly by so much."""

    def __init__(self, path, truth_ns):
        super().__init__(0.5)
        self.path, self.truth_ns, self.wrong_s = path, truth_ns, 0

    def step(self):
        now = time.time_ns()
        offset = self.truth_ns() / 1e9 + self.wrong_s
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):  # the server starts again
            s.connect(self.path)
            s.send(struct.pack("qqdiiii", now // 10**9, now % 10**9 // 1000, offset, 0, 0, 0, 0x534F434B))


class MadeUp(http.server.ThreadingHTTPServer):
    """A target whose metrics a test makes up: .text."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), MadeUp.Handler)
        self.admin_port, self.text = self.server_address[1], ""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            octets = self.server.text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)

        def log_message(self, *_):
            pass


class World:
    """One Prometheus, and four servers:

    rack     everything configured: receiver, rubidium, another program's samples, keys in etcd
    crystal  a receiver and no rubidium, a short limit of holdover, a certificate of five days, a file of ten
    plain    the kernel's clock, few connections for NTS-KE; for what abuses a server
    lost     its key file's directory is gone
    """

    def __init__(self, stack, directory):
        self.stack, self.directory = stack, directory
        (directory / "etcd").mkdir()
        self.etcd = stack.enter_context(Etcd(directory / "etcd", "e1", {"e1": "127.0.0.1"}))
        cluster_key = directory / "cluster.key"
        daemons.write_file(cluster_key, os.urandom(32).hex().encode() + b"\n")
        self.cluster = {"keys.provider": "etcd", "etcd.endpoints": [self.etcd.endpoint], "etcd.cluster": "lab",
                        "etcd.key_file": str(cluster_key)}
        rack_devices = stack.enter_context(racks.SimulatedRack(directory / "rack", "--warm-up", "3s"))
        crystal_devices = stack.enter_context(racks.SimulatedRack(directory / "crystal", "--rubidium", "none"))
        self.devices = {"rack": rack_devices, "crystal": crystal_devices}
        wait_for(self.etcd.healthy, 20, "etcd is up")
        sock = str(directory / "sock")
        refclocks = rack_devices.refclocks()
        refclocks[0]["position"] = "48.1 11.5 560"
        self.rack = self.daemon("rack", {
            **self.cluster, "clock.holdover_limit": "10ms",
            "clock.leap_file": leap_file(directory / "leap-rack", time.time() + 200 * DAY)},
            refclock=[*refclocks, {"driver": "sock", "device": sock, "error_bound": "50ms"}],
            environment=racks.environment())
        self.samples = stack.enter_context(Samples(sock, rack_devices.truth_ns))
        self.leap_file = directory / "leap-crystal"
        self.crystal = self.daemon("crystal", {
            "clock.holdover_limit": "120us",  # of which a busy machine's latency may take half
            "clock.leap_file": leap_file(self.leap_file, time.time() + 10 * DAY)},
            days=5, refclock=crystal_devices.refclocks(rubidium=None), environment=racks.environment())
        self.plain = self.daemon("plain", {"nts_ke.max_connections_per_address": 2, "nts_ke.deadline": "2s"})
        self.lost = self.daemon("lost", {"keys.rotation": "1s", "ntp.shards": 1})
        self.lose(True)
        stack.callback(self.lose, False)
        self.prometheus = stack.enter_context(Prometheus(directory / "prometheus"))
        self.prometheus.target(*self.servers())

    def servers(self):
        return self.rack, self.crystal, self.plain, self.lost

    def lose(self, lost):
        """The directory of its key file is gone, or back."""
        away = self.lost.directory + "-away"
        if lost != os.path.exists(away):
            os.rename(*((self.lost.directory, away) if lost else (away, self.lost.directory)))

    def daemon(self, name, settings, days=90, **options):
        (self.directory / f"d-{name}").mkdir()
        certificates = daemons.LabCertificates(str(self.directory / f"c-{name}"), days=days)
        return self.stack.enter_context(daemons.Daemon(self.directory / f"d-{name}", certificates, settings, **options))


@pytest.fixture(scope="module")
def world(namespace, tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield World(stack, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def locked(world):
    for server in (world.rack, world.crystal):
        racks.becomes(server, "LOCKED", 90)
        world.prometheus.clear(server, "TimeballUnsynchronised")
    return world


@contextlib.contextmanager
def load(server):
    """NTS, plain and bad requests, and NTS-KE, some hundreds a second."""
    ntp = [ntsload.BINARY, "ntp", f"127.0.0.1:{server.ke_port}", "--rate", "300", "--duration", "60s", "--associations", "10",
           "--mix", "nts=6,plain=2,bad-authenticator=1,garbage=1"]
    ke = [ntsload.BINARY, "ke", f"127.0.0.1:{server.ke_port}", "--rate", "10", "--duration", "60s"]
    running = [subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for c in (ntp, ke)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


# --- The scrape, under load ------------------------------------------------------------------------


def test_scrape_rules_and_dashboard_under_load(locked):
    """promtool finds nothing to say of the scrape; every recording rule and every query of the dashboard has data."""
    prometheus = locked.prometheus
    with load(locked.rack):
        wait_for(lambda: prometheus.query("instance:timeball_nts_ke_handshake_seconds:p99_rate5m > 0"), 20, "load")
        status, text = locked.rack.get("/metrics")
        done = promtool("check", "metrics", input=text)
        assert status == 200 and done.returncode == 0 and not done.stdout + done.stderr, done
        wait_for(lambda: prometheus.query("min(up)")[0][1] == 1, 10, "a scrape of everything")
        rules = yaml.safe_load((RULES / "rules.yml").read_text())["groups"][0]["rules"]
        everything = [(rule["record"], rule["record"]) for rule in rules]
        everything += [(title, query.replace("$__rate_interval", WINDOW).replace("$instance", ".*")) for title, query in queries()]
        holdover = "timeball_refclock_holdover_remaining_seconds"  # there is none now: see below
        missing = [(title, query) for title, query in everything if holdover not in query]
        deadline = time.monotonic() + 15
        while missing and time.monotonic() < deadline:
            missing = [(title, query) for title, query in missing if not prometheus.query(query)]
        assert not missing
    assert 0.7 < prometheus.query("max(instance:timeball_replies:ratio_rate5m)")[0][1] <= 1
    for _, value in prometheus.query("rate(timeball_refclock_alarms_total[20s]) > 0"):
        assert not value, "an alarm though all was well"


# --- Alerts, by what causes them -------------------------------------------------------------------


def check(seen):
    """What the alerts' templates made of their values."""
    for text in [text for annotations in seen.values() for text in annotations.values()]:
        assert "{{" not in text and "error" not in text.lower().replace("error bound", "") and "<no value>" not in text, text


@contextlib.contextmanager
def causing(world, server, *alerts, timeout=40):
    """What the body begins makes these fire, and nobody saw them before."""
    before = {name for name, where in world.prometheus.alerts() if where in (None, server and f"127.0.0.1:{server.admin_port}")}
    assert not before & set(alerts), before
    yield
    check(world.prometheus.fire(server, *alerts, timeout=timeout))


def well_again(server):
    """GNSS is in use. An exclusion would last for an hour; a readmission before the receiver is right again is in vain."""
    for _ in range(4):
        time.sleep(2)
        if server.metric("timeball_refclock_flag", flag="suspect"):
            server.command("readmit")
        with contextlib.suppress(AssertionError):
            racks.becomes(server, "LOCKED", 15)
            if not server.metric("timeball_refclock_flag", flag="suspect"):
                return
    raise AssertionError(f"not LOCKED again:\n{server.log()}")


def test_gnss_off_and_a_crystal_alone(locked):
    """Holdover, and its end at the limit."""
    alerts = ("TimeballPulsesMissing", "TimeballFewSatellites", "TimeballHoldover", "TimeballHoldoverEndsSoon",
              "TimeballBoundExceeded", "TimeballUnsynchronised")
    with causing(locked, locked.crystal, *alerts, timeout=180):
        locked.devices["crystal"].do("gnss off")
    assert locked.prometheus.query("max_over_time(timeball_refclock_holdover_remaining_seconds[2m]) > 0")
    locked.devices["crystal"].do("gnss on")
    locked.prometheus.clear(locked.crystal, *alerts)


@pytest.mark.parametrize("begin, end, alerts", [
    ("pps-gnss unplug", "pps-gnss plug", ["TimeballPulsesMissing", "TimeballHoldover"]),
    ("gnss label -1", "gnss label 0", ["TimeballLabelDisagrees"]),
    ("gnss spoof 2ms", "gnss spoof 0s", ["TimeballPhaseStep"]),
    ("gnss walk 3000", "gnss spoof 0s", ["TimeballPhaseSlope"]),
    ("rubidium unplug", "rubidium plug", ["TimeballRubidiumSilent"]),
    ("gnss jam on, gnss suspect on, gnss antenna short, gnss move 230, gnss label -619315200",
     "gnss jam off, gnss suspect off, gnss antenna ok, gnss move 0, gnss label 0",
     ["TimeballJamming", "TimeballSpoofing", "TimeballAntenna", "TimeballPosition", "TimeballWeekRollover"]),
    ("rubidium reboot, rubidium unlock 6s", "", ["TimeballRubidiumJumped", "TimeballRubidiumUnlocked"]),
    ("host jump 2ms", "", ["TimeballHostClock"]),
], ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "")
def test_rack(locked, begin, end, alerts):
    devices, server = locked.devices["rack"], locked.rack
    with causing(locked, server, *alerts):
        for command in begin.split(", "):
            devices.do(command)
    for command in end.split(", ") if end else ():
        devices.do(command)
    well_again(server)
    locked.prometheus.clear(server, *alerts)


def test_another_program_is_wrong(locked):
    with causing(locked, locked.rack, "TimeballSourcesDisagree"):
        locked.samples.wrong_s = 2
    locked.samples.wrong_s = 0
    well_again(locked.rack)
    locked.prometheus.clear(locked.rack, "TimeballSourcesDisagree")


def renew(certificates, directory):
    new = daemons.LabCertificates(str(directory))
    for old, fresh in ((certificates.key, new.key), (certificates.chain, new.chain)):
        shutil.copyfile(fresh, old)


def test_certificate_expires_is_refused_and_renewed(locked):
    server = locked.crystal
    check(locked.prometheus.fire(server, "TimeballCertificateExpires"))
    with causing(locked, server, "TimeballCertificateRefused"):
        daemons.write_file(server.certificates.key, b"garbage")
    renew(server.certificates, locked.directory / "renewed")
    locked.prometheus.clear(server, "TimeballCertificateRefused", "TimeballCertificateExpires")


def test_leap_seconds_and_a_warm_rubidium(locked):
    """Nobody tells of them at first; then a file with another TAI-UTC than GNSS's. That it was warm is forgotten by a
    server that starts again."""
    server, gnss, prometheus = locked.crystal, locked.devices["crystal"], locked.prometheus
    check(prometheus.fire(server, "TimeballLeapFileExpires"))
    with causing(locked, server, "TimeballLeapUnknown"), causing(locked, locked.rack, "TimeballRubidiumTemperature"):
        locked.devices["rack"].do("rubidium temperature 60")
        server.stop()
        gnss.do("gnss off")
        leap_file(locked.leap_file, time.time() + 10 * DAY, last=36)
        server.start()
    with causing(locked, server, "TimeballLeapDisagreement"):
        gnss.do("gnss on")
        locked.devices["rack"].do("rubidium temperature 40")
        locked.rack.restart()
    prometheus.clear(server, "TimeballLeapUnknown")
    server.stop()
    leap_file(locked.leap_file, time.time() + 200 * DAY)
    server.start()
    prometheus.clear(server, "TimeballLeapDisagreement", "TimeballLeapFileExpires")
    prometheus.clear(locked.rack, "TimeballRubidiumTemperature")


def test_etcd_is_gone_and_what_lies_there_is_refused(locked):
    server, prometheus = locked.rack, locked.prometheus
    good = locked.etcd.ask("get", "--print-value-only", KEYS).rstrip("\n") + "\n"
    with causing(locked, server, "TimeballClusterKeysRefused"):
        locked.etcd.ask("put", KEYS, good.replace("sealed", "sealad"))
    locked.etcd.ask("put", KEYS, good)
    locked.prometheus.clear(server, "TimeballClusterKeysRefused")
    with causing(locked, server, "TimeballClusterCutOff"):
        locked.etcd.end()
    newcomer = locked.daemon("newcomer", locked.cluster, days=-1)
    prometheus.target(*locked.servers(), newcomer)
    with causing(locked, newcomer, "TimeballNoKeys", "TimeballCertificateExpired"):
        pass
    locked.etcd.begin()
    renew(newcomer.certificates, locked.directory / "renewed-too")
    prometheus.clear(server, "TimeballClusterCutOff")
    prometheus.clear(newcomer, "TimeballNoKeys", "TimeballCertificateExpired")
    newcomer.stop()
    prometheus.target(*locked.servers())


def test_nts_ke_turns_clients_away(locked):
    server = locked.plain
    with causing(locked, server, "TimeballNtsKeOverload"), contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection((daemons.HOST, server.ke_port)))
        time.sleep(1)  # all are there at the same time
    locked.prometheus.clear(server, "TimeballNtsKeOverload")


def test_cookies_of_other_keys_and_requests_that_are_dropped(locked):
    server = locked.plain
    stranger = daemons.made_up_association(daemons.KeyFile.make(1).current, cookies=1)
    deadline = time.monotonic() + 12
    with causing(locked, server, "TimeballNakRatioHigh", "TimeballDropRatioHigh"), server.ntp() as s:
        while time.monotonic() < deadline and len(set(locked.prometheus.alerts()) & {
                ("TimeballNakRatioHigh", f"127.0.0.1:{server.admin_port}"),
                ("TimeballDropRatioHigh", f"127.0.0.1:{server.admin_port}")}) < 2:
            s.send(nts.nts_request(stranger, cookie=stranger.cookies[0]).packet)
            s.send(b"no request")
            time.sleep(0.02)
    locked.prometheus.clear(server, "TimeballNakRatioHigh", "TimeballDropRatioHigh")


def test_replies_that_the_kernel_refuses(locked):
    """There is no route to the address that requests claim to come from."""
    server = locked.plain
    request = nts.plain_request()
    udp = struct.pack(">HHHH", 12345, server.ntp_port, 8 + len(request), 0) + request
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0,
                     socket.inet_aton("198.51.100.9"), socket.inet_aton(daemons.HOST))
    with causing(locked, server, "TimeballRepliesRefused"), \
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        for _ in range(30):
            s.sendto(ip + udp, (daemons.HOST, 0))
            time.sleep(0.1)
    locked.prometheus.clear(server, "TimeballRepliesRefused")


def test_server_goes_away_and_starts_again_and_again(locked):
    server, prometheus = locked.plain, locked.prometheus
    with causing(locked, server, "TimeballDown"):
        server.kill()
    server.start()
    locked.prometheus.clear(server, "TimeballDown")
    with causing(locked, server, "TimeballRestarts"):
        for _ in range(3):
            server.restart()
            time.sleep(1.2)
    locked.prometheus.clear(server, "TimeballRestarts")
    with causing(locked, None, "TimeballScrapeMissing"):
        prometheus.target()
    prometheus.target(*locked.servers())
    locked.prometheus.clear(None, "TimeballScrapeMissing")


def test_keys_do_not_rotate(locked):
    """Overdue by a minute, as the alarm is meant."""
    server = locked.lost
    check(locked.prometheus.fire(server, "TimeballKeysNotRotating", timeout=80))
    locked.lose(False)
    server.command("keys", "rotate")  # it would try again by itself, a little later
    locked.prometheus.clear(server, "TimeballKeysNotRotating")


def test_descriptors_run_out(locked):
    """Few are allowed from now on."""
    pid, server = locked.plain.process.pid, locked.plain
    allowed = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with causing(locked, server, "TimeballDescriptorsLow"):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (int(server.metric("process_open_fds") / 0.85), allowed[1]))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, allowed)
    locked.prometheus.clear(server, "TimeballDescriptorsLow")


def test_less_sure_of_the_time_than_the_others(locked):
    """A kernel's clock that somebody else keeps, among two that have receivers."""
    racks.becomes(locked.rack, "LOCKED")
    racks.becomes(locked.crystal, "LOCKED")
    with causing(locked, locked.plain, "TimeballBoundOutlier"):
        locked.prometheus.target(locked.rack, locked.crystal, locked.plain)
    locked.prometheus.target(*locked.servers())
    locked.prometheus.clear(locked.plain, "TimeballBoundOutlier")


@pytest.mark.skipif(daemons.ASAN, reason="built with ASan, which makes nothing of mlock")
def test_keys_cannot_be_locked(locked):
    server = locked.plain
    server.wrapper = ["prlimit", "--memlock=0:0", "setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]
    with causing(locked, server, "TimeballSecretsUnlocked"):
        server.restart()
    server.wrapper = []
    server.restart()
    locked.prometheus.clear(server, "TimeballSecretsUnlocked")


def test_somebody_steps_the_clock_and_the_helper_dies(locked, tmp_path):
    """The kernel's clock is one that the shim makes up; in a user namespace, from which nobody could touch the real one."""
    shim = daemons.Shim(str(tmp_path))
    shim.set(fake_adjtime=True)
    refclock = [{"driver": "gnss", "device": "/nowhere/gnss"}, {"driver": "pps", "device": "/nowhere/pps"}]
    server = locked.daemon("steering", {"clock.mode": "system", "clock.leap_file": ""}, refclock=refclock,
                           environment=shim.environment(recording=False), wrapper=("unshare", "--user", "--map-root-user"))
    locked.prometheus.target(*locked.servers(), server)
    wait_for(lambda: locked.prometheus.query(f'timeball_kernel_clock_steered{{instance="127.0.0.1:{server.admin_port}"}} == 1'), 20,
             "the helper does its work")
    with causing(locked, server, "TimeballForeignSteering"):
        shim.set(fake_adjtime=True, clock_offset_s=1)
    with causing(locked, server, "TimeballKernelNotSteered"):
        with open(f"/proc/{server.process.pid}/task/{server.process.pid}/children", encoding="ascii") as f:
            os.kill(int(f.read()), signal.SIGKILL)
    server.restart()
    locked.prometheus.clear(server, "TimeballKernelNotSteered", "TimeballForeignSteering")
    server.stop()
    locked.prometheus.target(*locked.servers())


# What takes a network of its own (tests/e2e/test_xdp.py has the cause): its metric, made up.
MADE_UP = {
    "TimeballXdpFallback": 'timeball_alarm{alarm="xdp-fallback"} %d',
}


def made_up(on):
    """The series with the condition on, or off."""
    return "".join(series % on + "\n" for series in MADE_UP.values())


def test_the_rest_by_made_up_series(locked):
    """In real Prometheus all the same: expression, labels and what the templates make of them."""
    target = MadeUp()
    target.text = made_up(False)
    locked.prometheus.target(*locked.servers(), target)
    time.sleep(2)
    with causing(locked, target, *MADE_UP):
        target.text = made_up(True)
    target.text = made_up(False)
    locked.prometheus.clear(target, *MADE_UP)
    target.shutdown()
    locked.prometheus.target(*locked.servers())


def test_every_alert_was_seen_here():
    source = open(__file__, encoding="utf-8").read()
    assert {name for name in alert_rules() if f'"{name}"' not in source} == set()
