"""bench/compare, in short: it must run unattended, whatever the figures."""
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_compare_measures_all_three_servers(tmp_path):
    build = (ROOT / os.environ.get("TIMEBALL_BUILD", "build")).resolve()
    done = subprocess.run([ROOT / "bench" / "compare", "--build", build, "--rounds", "1", "--duration", "200ms",
                           "--associations", "10", "--only", "ke", "nts", "nts2", "--out", tmp_path],
                          capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "compare.json").read_text())
    assert set(results) == {"ke", "nts", "nts2"}
    for rounds in results.values():
        for reports in rounds:
            assert set(reports) == {"timeballd", "chronyd", "ntpd"}
            for report in reports.values():
                assert report["done"] > 0 and report["server_cpu_us"] > 0
    assert (tmp_path / "compare.md").read_text() == done.stdout.removesuffix("\n")
    assert (tmp_path / "compare.svg").read_text().count("<rect") == 1 + 3 * 3
