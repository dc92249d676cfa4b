"""The admin listener of the real daemon: status, events, panel, and what it refuses."""
import base64
import contextlib
import http.client
import json
import os
import socket
import ssl
import time

import pytest

import daemon as daemons
import ntslib as nts

# Every key of /api/v1/status (deploy/API.md), present or null.
STATUS = {"version", "host", "now", "uptime_s", "time", "ntp", "nts_ke", "keys", "certificates", "receiver", "pulses",
          "samples", "rubidium", "alarms"}
TIME = {"synchronised", "stratum", "leap", "reference_id", "error_bound_s", "offset_s", "root_delay_s",
        "root_dispersion_s", "reference_age_s", "state", "state_s", "flags", "holdover_s", "holdover_remaining_s"}
NTP = {"requests", "requests_per_s", "nts_per_s", "shards", "io", "xdp", "received_bytes", "sent_bytes", "t3_to_wire_s"}
NTS_KE = {"connections", "handshakes_per_s", "open", "handshake_s"}
KEYS = {"provider", "file", "age_s", "next_rotation_s", "generations", "cluster"}


@pytest.fixture(scope="module")
def server(start):
    with start() as d:
        yield d


NO_RACK = [{"driver": "gnss", "device": "/dev/no-receiver"}, {"driver": "pps", "device": "/dev/no-pps"}]
TOKEN = "correct-horse-battery"


def get(d, path, headers=None, tls=None):
    """Status, headers, text."""
    connection = (http.client.HTTPSConnection(daemons.HOST, d.admin_port, timeout=10, context=tls) if tls else
                  http.client.HTTPConnection(daemons.HOST, d.admin_port, timeout=10))
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def status(d):
    code, headers, text = get(d, "/api/v1/status")
    assert code == 200 and headers["Content-Type"] == "application/json"
    return json.loads(text)


class Events:
    """A stream of server-sent events."""

    def __init__(self, d, tls=None, headers=None):
        self.connection = (http.client.HTTPSConnection(daemons.HOST, d.admin_port, timeout=10, context=tls) if tls else
                           http.client.HTTPConnection(daemons.HOST, d.admin_port, timeout=10))
        self.connection.request("GET", "/api/v1/events", headers=headers or {})
        self.response = self.connection.getresponse()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.response.close()
        self.connection.close()

    def next(self):
        name = self.response.readline().decode()
        data = self.response.readline().decode()
        assert name == "event: status\n" and data.startswith("data: ") and self.response.readline() == b"\n"
        return json.loads(data[6:])


def test_status_has_every_key(server):
    s = status(server)
    assert set(s) == STATUS
    assert set(s["time"]) == TIME and set(s["ntp"]) == NTP and set(s["nts_ke"]) == NTS_KE and set(s["keys"]) == KEYS
    assert s["version"] == "0.1.0" and s["uptime_s"] > 0 and s["now"].endswith("Z")
    time = s["time"]
    assert time["synchronised"] and time["stratum"] == 10 and time["leap"] == 0 and time["error_bound_s"] > 0
    assert time["state"] is None and time["holdover_s"] is None  # no rack
    assert s["receiver"] is None and s["rubidium"] is None and s["pulses"] == [] and s["samples"] == []
    assert s["ntp"]["shards"] == 2 and s["ntp"]["io"] == "mmsg"


def test_status_counts_what_is_served(server):
    before = status(server)
    association = server.associate()
    request = nts.nts_request(association)
    with server.ntp() as s:
        nts.check_reply(s.exchange(request.packet), request)
    daemons.wait_for(lambda: status(server)["ntp"]["requests"]["answered_nts"] ==
                     before["ntp"]["requests"]["answered_nts"] + 1, what="the request counted")
    daemons.wait_for(lambda: status(server)["nts_ke"]["connections"]["completed"] ==
                     before["nts_ke"]["connections"]["completed"] + 1, what="the NTS-KE counted")
    after = daemons.wait_for(lambda: (s := status(server))["nts_ke"]["handshake_s"] and s, what="handshake times")
    assert 0 < after["nts_ke"]["handshake_s"]["p50"] <= after["nts_ke"]["handshake_s"]["p99"] < 5
    assert after["ntp"]["received_bytes"] > before["ntp"]["received_bytes"]


def test_status_tells_rates(server):
    def rate():
        with server.ntp() as s:
            for _ in range(20):
                s.exchange(nts.plain_request())
        return status(server)["ntp"]["requests_per_s"] > 1

    daemons.wait_for(rate, what="a rate")


def test_keys_and_certificates_are_told_and_no_key(server):
    text = get(server, "/api/v1/status")[2]
    s = json.loads(text)
    keys = daemons.KeyFile.read(server.key_file)
    assert [g["id"] for g in s["keys"]["generations"]] == [f"{i:08x}" for i, _ in keys.generations]
    for _, key in keys.generations:
        assert key.hex() not in text.lower()
    [certificate] = s["certificates"]
    assert certificate["file"] == server.certificates.chain and 89 < certificate["days_left"] < 91
    assert certificate["not_after"].endswith("Z") and certificate["refused"] is False


def test_events_come_once_a_second(server):
    with Events(server) as events:
        assert events.response.headers["Content-Type"] == "text/event-stream"
        first, second, third = events.next(), events.next(), events.next()
        assert set(first) == STATUS
        assert 1.5 < third["uptime_s"] - first["uptime_s"] < 4
        assert first["now"] < second["now"] < third["now"]


def test_a_hundred_panels_are_served(server):
    begun = time.monotonic()
    streams = [Events(server) for _ in range(100)]
    seconds = int(time.monotonic() - begun)
    assert len({s.next()["uptime_s"] for s in streams}) <= seconds + 2  # one status a second for all
    for s in streams:
        s.__exit__()
    assert server.get("/healthz") == (200, "ok\n")


def test_panel_comes_from_the_binary(server):
    for path, kind in (("/", "text/html"), ("/panel.js", "text/javascript"), ("/panel.css", "text/css")):
        code, headers, text = get(server, path)
        assert code == 200 and headers["Content-Type"] == kind + "; charset=utf-8"
        source = {"/": "index.html"}.get(path, path[1:])
        with open(f"{daemons.ROOT}/server/panel/{source}", encoding="utf-8") as f:
            assert text == f.read()
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")


def test_what_is_not_there_is_not_found(server):
    for path in ("/panel", "/api", "/api/v1", "/api/v1/status/", "/../etc/passwd", "/panel.js/../.."):
        code, _, text = get(server, path)
        assert code == 404 and "/api/v1/status" in text


def test_a_rack_is_told(start):
    with start(refclock=NO_RACK) as d:
        s = daemons.wait_for(lambda: (s := status(d))["time"]["state"] and s["pulses"] and s, what="a state")
        assert s["time"]["state"] == "COLD" and not s["time"]["synchronised"] and s["now"] is None
        assert s["time"]["error_bound_s"] is None and s["time"]["offset_s"] is None and s["time"]["stratum"] == 16
        assert s["receiver"]["kind"] == "gnss" and s["receiver"]["usable"] is False
        assert [p["device"] for p in s["pulses"]] == ["/dev/no-pps"]
        assert "leap-unknown" in s["time"]["flags"]


def test_asked_for_by_names_of_its_own_only(start, tmp_path):
    """A page of evil.test whose name resolves to this machine gets nothing; Prometheus, by the name of its target, does."""
    port, paths = 9123, ("/", "/metrics", "/api/v1/status", "/api/v1/events", "/no")
    with start({"admin.names": ["time.example.net"]}) as d:
        for host in ("evil.test", f"evil.test:{port}", f"localhost.evil.test:{port}", f"127.0.0.1.evil.test:{port}"):
            for path in paths:
                code, _, text = get(d, path, {"Host": host})
                assert code == 421 and "admin.names" in text and len(text.splitlines()) == 1, (host, path, text)
            assert get(d, "/healthz", {"Host": host})[0] == 200
        for host in (f"127.0.0.1:{port}", f"[::1]:{port}", "192.0.2.1", f"localhost:{port}", socket.gethostname(),
                     f"{socket.gethostname()}:{port}", f"time.example.net:{port}", "Time.Example.Net"):
            assert get(d, "/metrics", {"Host": host})[0] == 200, host
            with Events(d, headers={"Host": host}) as events:
                assert events.response.status == 200
        with socket.create_connection((daemons.HOST, d.admin_port)) as s:
            s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")  # no browser
            assert s.makefile("rb").readline().split()[1] == b"200"
    token_file = tmp_path / "token"
    daemons.write_file(str(token_file), TOKEN.encode())
    with start({"admin.token_file": str(token_file)}) as d:
        assert get(d, "/metrics", {"Host": "evil.test"})[0] == 401
        assert get(d, "/metrics", {"Host": "proxy.test", "Authorization": f"Bearer {TOKEN}"})[0] == 200


# --- Readiness, alarms, history, configuration -----------------------------------------------------


def test_ready_while_the_time_is_good(server):
    daemons.wait_for(lambda: get(server, "/readyz")[0] == 200, what="ready")
    assert get(server, "/readyz")[2] == "ready\n" and server.get("/healthz") == (200, "ok\n")


def test_not_ready_with_a_reason(start):
    with start(refclock=NO_RACK) as d:
        daemons.wait_for(lambda: "unsynchronised" in get(d, "/readyz")[2], what="the reason")
        assert get(d, "/readyz")[0] == 503 and get(d, "/healthz")[0] == 200


def test_not_ready_over_the_bound(start):
    with start({"admin.ready_bound": "1us"}) as d:
        daemons.wait_for(lambda: "over admin.ready_bound" in get(d, "/readyz")[2], what="the reason")
        d.settings["admin.ready_bound"] = "16s"
        d.write_config()
        d.command("reload")
        daemons.wait_for(lambda: get(d, "/readyz")[0] == 200, what="ready")


def test_alarms_are_raised_and_clear(start, certificates, tmp_path):
    """A certificate that expires soon, and then is renewed."""
    soon = daemons.LabCertificates(str(tmp_path / "soon"), days=5)
    with start({"nts_ke.certificate": soon.chain, "nts_ke.private_key": soon.key}) as d:
        def raised():
            return [a["name"] for a in status(d)["alarms"]]

        daemons.wait_for(lambda: raised() == ["certificate-expires"], what="the alarm")
        [alarm] = status(d)["alarms"]
        assert alarm["severity"] == "minor" and alarm["since"].endswith("Z") and alarm["action"].endswith(".")
        assert alarm["runbook"] == "OPERATIONS.md#alarm-certificate-expires"
        assert d.metric("timeball_alarm", alarm="certificate-expires", severity="minor") == 1
        assert d.metric("timeball_alarm", alarm="unsynchronised") == 0
        assert not [m for m in d.metrics() if "rubidium" in m]  # there is none
        assert "alarm: certificate-expires: " in d.log()
        fresh = daemons.LabCertificates(str(tmp_path / "fresh"))
        os.replace(fresh.key, soon.key)
        os.replace(fresh.chain, soon.chain)
        d.command("reload")
        daemons.wait_for(lambda: raised() == [], what="the alarm's end")
        assert "alarm over: certificate-expires" in d.log()
        assert d.metric("timeball_alarm", alarm="certificate-expires") == 0


def test_history_has_points(server):
    history = daemons.wait_for(lambda: (h := json.loads(get(server, "/api/v1/history")[2]))["points"] and h,
                               what="a point")
    assert history["step_s"] == 10
    point = history["points"][-1]
    assert set(point) == {"t", "error_bound_s", "offset_s", "requests_per_s", "handshakes_per_s", "state"}
    assert abs(point["t"] - time.time()) < 60 and point["error_bound_s"] > 0 and point["state"] is None


def test_configuration_in_force_without_secrets(start, tmp_path):
    token = tmp_path / "token"
    daemons.write_file(token, TOKEN.encode())
    with start({"admin.token_file": str(token), "ntp.require_nts": True}) as d:
        text = get(d, "/api/v1/config", {"Authorization": "Bearer " + TOKEN})[2]
        assert TOKEN not in text
        rows = {(r["section"], r["key"]): r for r in json.loads(text)}
        assert rows["ntp", "require_nts"]["value"] == "true" and not rows["ntp", "require_nts"]["is_default"]
        assert rows["log", "level"]["is_default"] and rows["log", "level"]["reloadable"]
        assert rows["admin", "token_file"]["value"] == f'"{token}"'
        assert all(set(r) == {"section", "index", "key", "value", "is_default", "reloadable", "help"}
                   for r in rows.values())


# --- Token and TLS ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(start, tmp_path_factory):
    directory = tmp_path_factory.mktemp("admin")
    daemons.write_file(directory / "token", TOKEN.encode() + b"\n")
    certificates = daemons.LabCertificates(str(directory / "tls"))
    with start({"admin.token_file": str(directory / "token"), "admin.certificate": certificates.chain,
                "admin.private_key": certificates.key}, https=certificates) as d:
        yield d


def tls_of(d):
    return ssl.create_default_context(cafile=d.https.ca)


def test_token_opens_all_but_health(guarded):
    tls = tls_of(guarded)
    right = [{"Authorization": "Bearer " + TOKEN},
             {"Authorization": "Basic " + base64.b64encode(b"anybody:" + TOKEN.encode()).decode()}]
    wrong = [{}, {"Authorization": "Bearer " + TOKEN + "x"}, {"Authorization": TOKEN},
             {"Authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()}, {"Cookie": "token=" + TOKEN}]
    paths = ["/", "/panel.js", "/panel.css", "/metrics", "/api/v1/status", "/api/v1/history", "/api/v1/config"]
    for path in paths:
        for headers in wrong:
            code, answer, text = get(guarded, path, headers, tls)
            assert code == 401 and answer["WWW-Authenticate"].startswith("Basic") and TOKEN not in text
        for headers in right:
            assert get(guarded, path, headers, tls)[0] == 200
    assert get(guarded, "/api/v1/events", {}, tls)[0] == 401
    assert get(guarded, "/healthz", {}, tls)[0] == 200 and get(guarded, "/readyz", {}, tls)[0] in (200, 503)
    assert TOKEN not in guarded.log()


def test_tls_is_1_3_and_verified(guarded):
    with socket.create_connection((daemons.HOST, guarded.admin_port)) as raw:
        context = tls_of(guarded)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with context.wrap_socket(raw, server_hostname=daemons.SERVER_NAME) as s:
            assert s.version() == "TLSv1.3" and s.selected_alpn_protocol() == "http/1.1"
    old = tls_of(guarded)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        get(guarded, "/healthz", {}, old)
    with pytest.raises(ssl.SSLError):
        get(guarded, "/healthz", {}, ssl.create_default_context())
    with pytest.raises((http.client.HTTPException, OSError)):
        get(guarded, "/healthz")  # plain HTTP


def test_events_over_tls(guarded):
    with Events(guarded, tls_of(guarded), {"Authorization": "Bearer " + TOKEN}) as events:
        assert events.next()["uptime_s"] < events.next()["uptime_s"]


def test_certificate_of_the_listener_is_told_and_renewed(guarded, tmp_path):
    headers = {"Authorization": "Bearer " + TOKEN}
    told = json.loads(get(guarded, "/api/v1/status", headers, tls_of(guarded))[2])["certificates"]
    assert [c["file"] for c in told] == [guarded.certificates.chain, guarded.https.chain]
    fresh = daemons.LabCertificates(str(tmp_path / "fresh"))
    os.replace(fresh.key, guarded.https.key)
    os.replace(fresh.chain, guarded.https.chain)
    os.replace(fresh.ca, guarded.https.ca)

    def renewed():
        with contextlib.suppress(ssl.SSLError):
            return get(guarded, "/healthz", {}, tls_of(guarded))[0] == 200
        return False

    daemons.wait_for(renewed, 30, what="the renewed certificate")


def test_bad_tokens_and_pairs_are_said(start, tmp_path, certificates):
    short = tmp_path / "short"
    daemons.write_file(short, b"too-short\n")
    for settings, said in (({"admin.token_file": str(short)}, "16 to 512 printable characters"),
                           ({"admin.token_file": str(tmp_path / "none")}, "admin.token_file"),
                           ({"admin.certificate": certificates.chain}, "admin.private_key: is missing"),
                           ({"admin.private_key": certificates.key}, "admin.certificate: is missing"),
                           ({"admin.certificate": certificates.chain, "admin.private_key": certificates.chain},
                            "admin.private_key")):
        done = start(settings).check()
        assert done.returncode == 2 and said in done.stderr, done
    open_to_all = tmp_path / "open"
    daemons.write_file(open_to_all, TOKEN.encode(), 0o644)
    d = start({"admin.token_file": str(open_to_all)})
    d.spawn()
    assert d.process.wait(30) == 1 and "admin.token_file" in d.log() and TOKEN not in d.log()
    d.process = None


def test_warning_for_an_open_listener_is_precise(start, tmp_path, certificates):
    token = tmp_path / "token"
    daemons.write_file(token, TOKEN.encode())
    everywhere = {"admin.listen": "0.0.0.0:9123"}
    assert "is not a loopback address" in start(everywhere).check().stderr
    for more in ({"admin.token_file": str(token)},
                 {"admin.certificate": certificates.chain, "admin.private_key": certificates.key}):
        assert "is not a loopback address" not in start({**everywhere, **more}).check().stderr


# --- Limits ----------------------------------------------------------------------------------------


def test_who_does_not_read_events_is_dropped(server):
    """The kernel's buffers are small, and each write has a deadline of five seconds."""
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect((daemons.HOST, server.admin_port))
        silent.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        with Events(server) as events:
            def dropped():
                events.next()  # others go on
                return silent_is_gone(silent)

            daemons.wait_for(dropped, 100, what="the silent client dropped")


def silent_is_gone(s):
    """Whether its other end has closed: TCP_INFO's first octet is the state."""
    return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != 1  # TCP_ESTABLISHED


def test_streams_are_limited(start):
    with start() as server, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(Events(server)) for _ in range(130)]
        assert [s.response.status for s in streams].count(503) == 2
        assert server.get("/healthz") == (200, "ok\n")
        assert streams[0].next()
        for s in streams[1:]:
            s.__exit__()
        daemons.wait_for(lambda: first_event(server), what="places that come back")


def first_event(d):
    with Events(d) as events:
        return events.response.status == 200 and events.next()


@pytest.mark.parametrize("request_, answer", [
    (b"GET / HTTP/9.9\r\n\r\n", 400), (b"\x16\x03\x01\x02\x00\r\n\r\n", 400), (b"GET\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nA" + b"a" * 9000 + b": b\r\n\r\n", 431), (b"POST / HTTP/1.1\r\n\r\n", 405),
    (b"GET /api/v1/status HTTP/1.1\r\nbad header\r\n\r\n", 400), (b"GET /%00 HTTP/1.1\r\n\r\n", 404)])
def test_malformed_requests_are_refused(server, request_, answer):
    with socket.create_connection((daemons.HOST, server.admin_port), timeout=10) as s:
        s.sendall(request_)
        assert s.recv(4096).startswith(f"HTTP/1.1 {answer} ".encode())


# --- The busiest clients ---------------------------------------------------------------------------


def test_clients_are_not_kept_unless_wanted(server):
    assert get(server, "/api/v1/clients")[0] == 404
    assert "no clients are kept" in admin_socket(server, "clients")["error"]


def admin_socket(d, command):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(d.settings["admin.socket"])
        s.sendall(command.encode() + b"\n")
        return json.loads(s.makefile().read())


def test_status_and_alarms_by_the_admin_socket(server):
    said = admin_socket(server, "status")
    assert set(said) == STATUS | {"ok"} and said["ok"] is True
    assert admin_socket(server, "alarms") == {"alarms": [], "ok": True}


def test_busiest_clients_of_the_last_minute(start):
    with start({"admin.clients": 2}) as d:
        def ask(source, count):
            with d.ntp(source=source) as s:
                for _ in range(count):
                    s.exchange(nts.plain_request())

        def told():
            """Whatever the minute's end cuts off, both are seen in one window."""
            for source, count in (("127.0.0.2", 3), ("127.0.0.3", 8), ("127.0.0.4", 1)):
                ask(source, count)
            time.sleep(1)
            clients = json.loads(get(d, "/api/v1/clients")[2])["clients"]
            return len(clients) == 2 and clients[0]["requests"] > 8 and clients

        clients = daemons.wait_for(told, 90, what="a whole minute")
        assert clients[0]["address"] == "127.0.0.3" and clients[1]["address"] in ("127.0.0.2", "127.0.0.1")
        assert clients[0]["requests"] > clients[1]["requests"] and clients[0]["over"] == 0
        assert set(clients[0]) == {"address", "requests", "over", "nts"}
        assert admin_socket(d, "clients")["window_s"] == 60
