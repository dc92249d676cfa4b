"""The admin listener of the real daemon: status, events, panel, and what it refuses."""
import http.client
import json

import pytest

import daemon as daemons
import ntslib as nts

# Every key of /api/v1/status (deploy/API.md), present or null.
STATUS = {"version", "host", "now", "uptime_s", "time", "ntp", "nts_ke", "keys", "certificates", "receiver", "pulses",
          "samples", "rubidium", "alarms"}
TIME = {"synchronised", "stratum", "leap", "reference_id", "error_bound_s", "offset_s", "root_delay_s",
        "root_dispersion_s", "reference_age_s", "state", "state_s", "flags", "holdover_s", "holdover_remaining_s"}
NTP = {"requests", "requests_per_s", "nts_per_s", "shards", "io", "received_bytes", "sent_bytes", "t3_to_wire_s"}
NTS_KE = {"connections", "handshakes_per_s", "open", "handshake_s"}
KEYS = {"provider", "file", "age_s", "next_rotation_s", "generations", "cluster"}


@pytest.fixture(scope="module")
def server(start):
    with start() as d:
        yield d


def get(d, path, headers=None):
    """Status, headers, text."""
    connection = http.client.HTTPConnection(daemons.HOST, d.admin_port, timeout=10)
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

    def __init__(self, d):
        self.connection = http.client.HTTPConnection(daemons.HOST, d.admin_port, timeout=10)
        self.connection.request("GET", "/api/v1/events")
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
    streams = [Events(server) for _ in range(100)]
    assert len({s.next()["uptime_s"] for s in streams}) <= 3  # one status, made once
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
    gone = [{"driver": "gnss", "device": "/dev/no-receiver"}, {"driver": "pps", "device": "/dev/no-pps"}]
    with start(refclock=gone) as d:
        s = daemons.wait_for(lambda: (s := status(d))["time"]["state"] and s["pulses"] and s, what="a state")
        assert s["time"]["state"] == "COLD" and not s["time"]["synchronised"] and s["now"] is None
        assert s["time"]["error_bound_s"] is None and s["time"]["offset_s"] is None and s["time"]["stratum"] == 16
        assert s["receiver"]["kind"] == "gnss" and s["receiver"]["usable"] is False
        assert [p["device"] for p in s["pulses"]] == ["/dev/no-pps"]
        assert "leap-unknown" in s["time"]["flags"]
