"""timeball status, sources, alarms and clients against a running daemon."""
import json
import subprocess

import pytest

import daemon as daemons


@pytest.fixture(scope="module")
def server(start):
    with start({"admin.clients": 10}) as d:
        yield d


def tool(socket, *arguments):
    return subprocess.run([daemons.TOOL, *arguments, "--socket", socket], capture_output=True, text=True, timeout=30)


def nagios(d, *limits):
    done = tool(d.settings["admin.socket"], "status", "--nagios", *limits)
    assert done.stdout.count("\n") == 1 and done.stderr == "", done
    return done.returncode, done.stdout


def test_status_begins_with_whether_the_time_is_right(server):
    text = server.command("status")
    assert text.startswith("time         right, within "), text
    assert f"certificate  {server.settings['nts_ke.certificate']}: " in text and "alarms       none" in text
    assert "\x1b" not in text, "colour, and no terminal"


def test_json_is_what_the_panel_is_given(server):
    status = json.loads(server.command("status", "--json"))
    assert status["time"]["synchronised"] and status["alarms"] == [] and status["ntp"]["requests_per_s"] >= 0


def test_sources_and_alarms(server):
    assert server.command("sources").startswith("time         right, within ")
    assert server.command("alarms") == "alarms       none\n"


def test_watch_goes_on(server):
    command = [daemons.TOOL, "status", "--watch", "--socket", server.settings["admin.socket"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        seen = 0
        while seen < 3:
            seen += watch.stdout.readline().startswith("time  ")
        watch.kill()


def test_monitoring_systems_get_an_exit_status(server):
    status, line = nagios(server)
    assert status == 0 and line.startswith("TIMEBALL OK - right, within ") and "| error_bound=0." in line
    assert nagios(server, "--warning", "1ms", "--critical", "10s")[0] == 1  # trust: 10 ms
    assert nagios(server, "--warning", "1ms", "--critical", "2ms")[0] == 2
    assert tool("/nonexistent", "status", "--nagios").returncode == 3
    assert tool(server.settings["admin.socket"], "status", "--nagios", "--warning", "soon").returncode != 0


def test_unsynchronised_is_critical_and_says_what_to_do(start, tmp_path):
    nobody = {"driver": "sock", "device": str(tmp_path / "samples"), "error_bound": "1ms"}
    with start(refclock=nobody) as d:
        daemons.wait_for(lambda: "away, unsynchronised" in nagios(d)[1], what="the alarm")
        status, line = nagios(d)
        assert status == 2 and "NOT SYNCHRONISED" in line
        text = d.command("alarms")
        assert text.startswith("alarm        unsynchronised (critical)") and "\n             -> " in text


def test_clients_are_told_when_a_minute_is_over(start):
    with start({"admin.clients": 10, "ntp.listen": [], "nts_ke.server": daemons.HOST}) as d:  # so that nobody has
        assert d.command("clients") == "nobody has asked yet\n"


def test_no_daemon_is_said_in_one_line():
    done = tool("/nonexistent", "status")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "is timeballd running" in done.stderr
