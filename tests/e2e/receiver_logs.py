"""Recorded logs of real receivers, which lie beside the project, or wherever TIMEBALL_FIXTURES says."""
import os
from pathlib import Path

import pytest

LOGS = Path(os.environ.get("TIMEBALL_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures")) / "gnss"


def log_file(name):
    path = LOGS / f"{name}.log"
    if not path.exists():
        pytest.skip(f"no recorded logs here: {path}")
    return path
