"""Debian's Prometheus, as tests/peers unpacked it, with the rules of deploy/prometheus in a hurry."""
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import daemon as daemons
from daemon import free_port, wait_for
from peers import PEERS, Peer

DEPLOY = Path(daemons.ROOT) / "deploy"
PROMTOOL = PEERS / "prometheus/usr/bin/promtool"
INTERVAL = "500ms"
WINDOW = "4s"  # for a rate


def promtool(*arguments, **options):
    return subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=120, **options)


def hurried(rules):
    """The same rules for scrapes twice a second: nothing is waited for, and minutes are seconds."""
    rules = re.sub(r"\bfor: \d+[smh]", "for: 1s", rules.replace("[15m]", "[15s]"))
    return re.sub(r"\[\d+[mh]\]", f"[{WINDOW}]", rules)


class Prometheus(Peer):
    """Scrapes the targets given, twice a second, and judges as often."""

    def __init__(self, directory):
        directory.mkdir()
        super().__init__(directory)
        self.port = free_port()
        self.targets_file = directory / "targets.json"
        self.target()
        for name in ("rules.yml", "alerts.yml"):
            (directory / name).write_text(hurried((DEPLOY / "prometheus" / name).read_text()))
        # As scrape.yml has it, but for where targets come from and how often.
        text = (DEPLOY / "prometheus" / "scrape.yml").read_text()
        text = re.sub(r"_interval: \w+", f"_interval: {INTERVAL}", text)
        text, found = re.subn(r"static_configs:\n +- targets:\n +- \S+\n",
                              f"file_sd_configs:\n      - files: [{self.targets_file}]\n        refresh_interval: 1s\n", text)
        assert found == 1, text
        (directory / "prometheus.yml").write_text(text)
        self.start([PEERS / "prometheus/usr/bin/prometheus", f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}"])
        wait_for(self._ready, 30, "Prometheus is up")

    def _ready(self):
        assert self.process.poll() is None, self.log()
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5).status == 200
        except OSError:
            return False

    def target(self, *servers):
        """From now on it scrapes these: anything with an admin_port."""
        new = self.targets_file.with_suffix(".new")
        new.write_text(json.dumps([{"targets": [address(s) for s in servers]}]))
        new.rename(self.targets_file)

    def ask(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as refusal:
            raise AssertionError(f"{parameters}: {json.load(refusal)['error']}") from None

    def query(self, expression):
        """[({label: value}, number)]"""
        found = self.ask("query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def alerts(self):
        """Those that fire: {(name, instance): the alert}."""
        return {(a["labels"]["alertname"], a["labels"].get("instance")): a
                for a in self.ask("alerts")["alerts"] if a["state"] == "firing"}

    def fire(self, server, *names, timeout=40):
        """Waits until each has fired, together or one after another: {name: its annotations}."""
        where, seen = address(server) if server else None, {}

        def all_seen():
            seen.update({name: a["annotations"] for (name, at), a in self.alerts().items() if at == where and name in names})
            return len(seen) == len(names)

        wait_for(all_seen, timeout, lambda: f"fire: {set(names) - set(seen)}")
        return seen

    def clear(self, server, *names, timeout=40):
        where = address(server) if server else None
        wait_for(lambda: not {(name, where) for name in names} & set(self.alerts()), timeout, f"clear: {names}")


def address(server):
    return f"127.0.0.1:{server.admin_port}"
