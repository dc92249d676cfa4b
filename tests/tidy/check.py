#!/usr/bin/env python3
"""House rules that the compiler does not know: who may include whom, and what pure code may not call.

Prints one line for each breach, naming what to use instead, then "tidy: N files, M breaches".
Exit status 1 when there is one. `check.py --self-test` proves that each rule can fail.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("common", "refclock", "server", "bench")

# folder: prefixes of the project's headers that it may include (its own always).
MAY_INCLUDE = {
    "common/base": [],
    "common/time": ["common/base/"],
    "common/cli": ["common/base/"],
    "common/crypto": ["common/base/"],
    "common/ntp": ["common/base/", "common/time/", "common/crypto/"],
    "common/nts": ["common/base/", "common/time/", "common/crypto/", "common/ntp/"],
    "common/net": ["common/base/", "common/time/"],
    "refclock": ["common/base/", "common/cli/", "common/time/"],
    "server": ["common/", "refclock/refclock.h"],
    "bench": ["common/"],
}
# What measures the daemon's own parts; the load generator has nothing of the server's.
SERVER_BENCHES = re.compile(r"^bench/(responder|ke_bench|ke_floor|serving)")
# Only the composition root knows the reference clocks, and what tells of them.
REFCLOCK_USERS = {"server/timeballd.cc", "server/daemon.cc", "server/daemon.h", "server/refclock_options.cc",
                  "server/refclock_options.h", "server/snapshot.h", "server/clock_helper.h"}

# Pure files take time, randomness and bytes as arguments.
PURE = re.compile(
    r"^(common/(base|time|crypto|ntp|nts)/|refclock/(gnss|rubidium|sim)/|server/(responder|access_policy|rate_limiter|transmit_delay|verdict|settings|alarms|busiest_clients|history|readiness|snapshot|status|refclock_options|cluster_document|cluster_member)[._])"
)
IMPURE = {"common/base/log.cc", "common/base/log.h", "common/crypto/entropy.cc", "common/crypto/entropy.h",
          "refclock/sim/pps_device.cc", "refclock/sim/pps_device.h", "refclock/sim/pps_preload.cc",
          "refclock/sim/pty.cc", "refclock/sim/pty.h", "refclock/sim/rack_clock.h", "refclock/sim/rack_server.cc",
          "refclock/sim/refclock_sim.cc"}
BANNED = [
    (r"::now\(", "take the time as an argument"),
    (r"\bclock_gettime\b|\bgettimeofday\b|\btime\(nullptr\)|\btime\(NULL\)", "take the time as an argument"),
    (r"\bgetrandom\b|\bRAND_bytes\b|\bstd::random_device\b|\brand\(\)",
     "take a crypto::RandomGenerator as an argument"),
    (r"\bsocket\(|\brecvmsg\(|\bsendmsg\(", "leave I/O to common/net or server/shard"),
    (r"\basio\b", "leave I/O to the shell around this module"),
    (r"\bspdlog::|\bstd::cerr\b|\bprintf\(", "return a verdict or an Error; the caller logs"),
    (r"\bstd::atomic<std::shared_ptr", "use common/base/published.h"),
]
MAX_FUNCTION_LINES = 70


def strip(text):
    """The code without comments and string contents, line numbers kept."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def folder_of(name):
    parts = name.split("/")
    return "/".join(parts[:2]) if parts[0] == "common" else parts[0]


def include_breaches(name, text):
    folder = folder_of(name)
    allowed = MAY_INCLUDE[folder] + [folder + "/"] + (["server/"] if SERVER_BENCHES.match(name) else [])
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r'\s*#include "([^"]+)"', line)
        if not found:
            continue
        header = found.group(1)
        if not any(header.startswith(p) for p in allowed):
            yield number, f"{folder} may not include {header}"
        if header.startswith("refclock/") and folder == "server" and name not in REFCLOCK_USERS:
            yield number, f"only the composition root includes {header}"


def call_breaches(name, text):
    if not PURE.match(name) or name in IMPURE:
        return
    for number, line in enumerate(strip(text).splitlines(), 1):
        for pattern, instead in BANNED:
            if re.search(pattern, line):
                yield number, f"pure code calls {re.search(pattern, line).group()}: {instead}"


def length_breaches(name, text):
    """Functions start at a line that ends in '{' and is indented less than its body; ends at its brace."""
    lines = strip(text).splitlines()
    start = None
    depth_at_start = depth = 0
    for number, line in enumerate(lines, 1):
        opens_function = re.search(r"\)\s*(const)?\s*(noexcept)?\s*(override)?\s*(->\s*[\w:<>]+)?\s*\{\s*$", line)
        if start is None and opens_function and not re.match(r"\s*(if|for|while|switch|else)\b", line):
            start, depth_at_start = number, depth
        depth += line.count("{") - line.count("}")
        if start is not None and depth <= depth_at_start:
            if number - start + 1 > MAX_FUNCTION_LINES:
                yield start, f"a function of {number - start + 1} lines: at most {MAX_FUNCTION_LINES}"
            start = None


RULES = (include_breaches, call_breaches, length_breaches)


def check(name, text):
    return [f"{name}:{number}: {what}" for rule in RULES for number, what in rule(name, text)]


def self_test():
    bad = {
        "common/nts/a.cc": '#include "common/net/address.h"\n',
        "common/ntp/b.cc": "void f() {\n  auto t = std::chrono::system_clock::now();\n}\n",
        "common/crypto/c.cc": "void f() {\n  getrandom(p, 1, 0);\n}\n",
        "server/responder.cc": 'void f() {\n  spdlog::info("x");\n}\n',
        "server/shard.cc": '#include "refclock/refclock.h"\n',
        "refclock/rubidium/g.cc": "void f() {\n  clock_gettime(0, nullptr);\n}\n",
        "refclock/d.cc": '#include "common/nts/cookie.h"\n',
        "refclock/gnss/d.cc": "void f() {\n  asio::io_context context;\n}\n",
        "common/time/e.h": "inline void f() {\n  clock_gettime(0, nullptr);\n}\n",
        "bench/ntsload.cc": '#include "server/responder.h"\n',
        "server/f.cc": "void f() {\n" + "  g();\n" * 70 + "}\n",
    }
    good = {
        "common/nts/a.cc": '#include "common/ntp/packet.h"\n// std::chrono::system_clock::now()\n',
        "bench/responder_load.h": '#include "server/responder.h"\n',
        "server/shard.cc": "void f() {\n  clock_gettime(0, nullptr);\n}\n",
    }
    missed = [n for n, text in bad.items() if not check(n, text)]
    false_alarms = [n for n, text in good.items() if check(n, text)]
    for name in missed:
        print(f"self-test: no breach found in the bad {name}")
    for name in false_alarms:
        print(f"self-test: a breach found in the good {name}")
    return not missed and not false_alarms


def main():
    if not self_test():
        return 1
    if sys.argv[1:] == ["--self-test"]:
        print("tidy: self-test passed")
        return 0
    files = sorted(p for f in FOLDERS for p in (ROOT / f).rglob("*") if p.suffix in (".h", ".cc"))
    breaches = [b for p in files for b in check(str(p.relative_to(ROOT)), p.read_text())]
    for breach in breaches:
        print(breach)
    print(f"tidy: {len(files)} files, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
