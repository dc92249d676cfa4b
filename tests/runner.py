"""What tests/run does once the Debian packages are there: builds, runs every part, counts every case."""
import argparse
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "build-results"
# Of what AddressSanitizer makes another thing of: memory that is locked and left out of dumps, system calls.
DEPLOYED_ONLY = ("tests/e2e/test_secrets.py", "tests/e2e/test_sandbox.py")
PYTHON = "/usr/bin/python3"
FUZZ_BUDGET = 360  # seconds for all fuzz targets together, in wall time
# Line tables are all of the debug information that reports need: the rest is a tenth of a build.
SANITIZED = ["-Dbuildtype=plain", "-Doptimization=1", "-Ddebug=false", "-Db_ndebug=false", "-Db_lundef=false",
             "-Dbench=disabled"]
BUILD_LIMIT = 3000  # seconds; with nothing in ccache a slow machine of two cores has taken 1,800
SIM_SEED = 10001  # what is shown; 1 to 1000 are for tuning
TSAN_TESTS = ("base", "ke_service", "shard")  # those whose subject is shared between threads

# directory: compiler, meson options
BUILDS = {
    "build": ("g++", ["-Dtests=enabled"]),
    # The fuzz targets' too: one long build in place of two, for a coverage that the tests do not look at.
    "build-asan": ("clang++", [*SANITIZED, "-Db_sanitize=address,undefined", "-Dfuzz=enabled",
                               "-Dcpp_args=-g1 -fsanitize=fuzzer-no-link"]),
    "build-tsan": ("clang++", [*SANITIZED, "-Db_sanitize=thread", "-Dcpp_args=-g1"]),
}
ENVIRONMENT = {
    "ASAN_OPTIONS": "halt_on_error=1:detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass
class Case:
    name: str
    outcome: str  # passed, failed or skipped
    why: str = ""


CASES: list[Case] = []


def run(command, timeout=1500, **environment):
    """The command's exit status; its output goes to ours."""
    sys.stdout.flush()
    with subprocess.Popen([str(part) for part in command], cwd=ROOT, env={**os.environ, **environment}) as process:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            print(f"killed after {timeout} s: {command[0]}")
            return 124
        except BaseException:
            process.terminate()
            raise


def step(name, command, **options):
    """One case: passes when the command's exit status is 0."""
    print(f"\n== {name}")
    begin = time.monotonic()
    status = run(command, **options)
    CASES.append(Case(name, "failed" if status else "passed", f"exit status {status}" if status else ""))
    print(f"== {name}: {CASES[-1].outcome}, {time.monotonic() - begin:.0f} s")
    return status == 0


def suite(name, command, xml, **options):
    """Many cases, which the command leaves in a JUnit file. Its exit status counts as a case only when it
    says something that the cases do not (a crash, a leak found at exit)."""
    print(f"\n== {name}")
    begin = time.monotonic()
    xml.unlink(missing_ok=True)
    status = run(command, **options)
    cases = read_junit(name, xml) if xml.exists() else []
    if not cases:
        cases = [Case(name, "failed", "left no results")]
    elif status and all(case.outcome != "failed" for case in cases):
        cases.append(Case(name, "failed", f"exit status {status}, though no case failed"))
    CASES.extend(cases)
    failed = sum(case.outcome == "failed" for case in cases)
    print(f"== {name}: {len(cases)} cases, {failed} failed, {time.monotonic() - begin:.0f} s")


def read_junit(name, xml):
    cases = []
    for element in ElementTree.parse(xml).iter("testcase"):
        if element.get("status") == "notrun":
            continue
        bad = next((b for b in (element.find("failure"), element.find("error")) if b is not None), None)
        skipped = element.find("skipped")
        note = bad if bad is not None else skipped
        outcome = "failed" if bad is not None else "skipped" if skipped is not None else "passed"
        where = ".".join(filter(None, (name, element.get("classname"), element.get("name"))))
        cases.append(Case(where, outcome, (note.get("message") or "").split("\n")[0] if note is not None else ""))
    return cases


def as_argument(option):
    value = option["value"]
    text = " ".join(value) if isinstance(value, list) else str(value)
    return f"-D{option['name']}={text.lower() if isinstance(value, bool) else text}"


def configure(directory):
    compiler, options = BUILDS[directory]
    command = ["meson", "setup", directory, *options]
    if (ROOT / directory / "build.ninja").exists():
        if set(options) <= {as_argument(option) for option in introspect(directory, "buildoptions")}:
            return True
        command = ["meson", "configure", directory, *options]  # deploy/quickstart made it, or an older checkout
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "CXX": f"ccache {compiler}"})
    if done.returncode:
        print(done.stdout)
        CASES.append(Case(f"configure {directory}", "failed"))
    return done.returncode == 0


BUILT: dict[tuple, bool] = {}


def build(directory, *targets):
    """Builds once in a run; one case. True when it worked."""
    if (directory, targets) not in BUILT:
        BUILT[directory, targets] = configure(directory) and step(
            f"build of {directory} by {BUILDS[directory][0]}", ["ninja", "--quiet", "-k", "0", "-C", directory, *targets],
            timeout=BUILD_LIMIT)
    return BUILT[directory, targets]


def introspect(directory, what):
    return json.loads(subprocess.run(["meson", "introspect", f"--{what}", directory], cwd=ROOT, check=True,
                                     capture_output=True).stdout)


def meson_test(name, directory, *tests):
    suite(name, ["meson", "test", "-C", directory, "--print-errorlogs", *tests],
          ROOT / directory / "meson-logs" / "testlog.junit.xml")


def pytest(name, directory, *tests, **environment):
    xml = RESULTS / f"{name}.xml"
    suite(name, [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rfEs", f"--junitxml={xml}",
                 *(tests or [f"tests/{name}"])], xml, TIMEBALL_BUILD=str(ROOT / directory), **environment)


def tidy(_options):
    step("tidy", [PYTHON, "tests/tidy/check.py"])
    step("tidy: every rule can fail", [PYTHON, "tests/tidy/check.py", "--self-test"])


def check_format(_options):
    folders = ("common", "refclock", "server", "bench", "tests")
    files = sorted(f for folder in folders for f in (ROOT / folder).rglob("*") if f.suffix in (".cc", ".h"))
    step("format", ["clang-format", "--dry-run", "-Werror", "--ferror-limit=1", *files])


def unit(_options):
    if build("build-asan"):
        meson_test("unit", "build-asan")


def e2e(_options):
    if build("build-asan"):
        pytest("e2e", "build-asan", "tests/e2e", *(f"--ignore={test}" for test in DEPLOYED_ONLY))
        step("conformance table", [PYTHON, "tests/e2e/conformance_table.py", RESULTS / "e2e.xml"])


def xdp(_options):
    """NTP's conformance again and what AF_XDP is about, each daemon on another host, which it serves by AF_XDP."""
    if os.geteuid() != 0:
        CASES.append(Case("xdp", "skipped", "AF_XDP takes root: run the tests as root"))
    elif step("peers", ["tests/peers"]) and build("build-asan"):
        pytest("xdp", "build-asan", "tests/e2e/test_xdp.py", "tests/e2e/test_conformance_ntp.py", TIMEBALL_XDP="1")


def release(_options):
    """Assertions off, full optimisation: other machine code, the kernels of common/crypto above all."""
    if build("build"):
        meson_test("release", "build")
        pytest("deployed", "build", *DEPLOYED_ONLY)
        step("instruction budgets", [PYTHON, "tests/budget.py"])


def valgrind(_options):
    """The AEAD rows that valgrind's CPU has: it knows AES-NI, and no VAES, so that the others count as absent."""
    if not shutil.which("valgrind"):
        CASES.append(Case("valgrind", "skipped", "install the package valgrind to run it"))
        return
    tests = ("unit_crypto", "unit_crypto_differential")
    if build("build", *(f"tests/unit/{test}" for test in tests)):
        for test in tests:
            xml = RESULTS / f"valgrind-{test}.xml"
            suite(f"valgrind.{test}", ["valgrind", "--quiet", "--error-exitcode=9", f"build/tests/unit/{test}",
                                       f"--gtest_output=xml:{xml}"], xml)


def sim(options):
    """Worlds in virtual time that drive the real discipline: one of each kind; with --sim-full 200."""
    if not build("build", "tests/sim/sim"):
        return
    program, jobs = "build/tests/sim/sim", os.cpu_count() or 1
    figures = "tests/sim/figures.json" if options.sim_full else RESULTS / "sim.json"
    step("sim: a lie in the contract is found out", [program, "--lies", "--first-seed", SIM_SEED, "--seeds", "2"])
    step("sim: the promise holds", [program, "--first-seed", SIM_SEED, "--seeds", 200 if options.sim_full else 1,
                                    "--jobs", jobs, "--json", figures], timeout=7200)
    if options.sim_full:
        step("sim: what cannot be seen", [program, "--walks", "--first-seed", SIM_SEED, "--seeds", "20"])


def interop(_options):
    if step("peers", ["tests/peers"]) and build("build", "server/timeballd", "server/timeball", "bench/ntsload",
                                                "refclock/refclock-sim", "refclock/sim/libtimeball-pps-sim.so"):
        pytest("interop", "build")


def packages(_options):
    """From HEAD, in a build directory of their own; ccache knows what "build" has compiled."""
    if build("build"):
        pytest("packages", "build")


def browser(_options):
    if build("build", "server/timeballd", "bench/ntsload", "refclock/refclock-sim", "refclock/sim/libtimeball-pps-sim.so"):
        pytest("browser", "build")


def tsan(_options):
    if not configure("build-tsan"):
        return
    tests = {test["name"]: os.path.relpath(test["cmd"][0], ROOT / "build-tsan")
             for test in introspect("build-tsan", "tests") if test["name"] in TSAN_TESTS}
    if build("build-tsan", *tests.values()):
        meson_test("tsan", "build-tsan", "--no-rebuild", *tests)


def fuzz(options):
    if not configure("build-asan"):
        return
    targets = {t["name"].removeprefix("fuzz_"): os.path.relpath(t["filename"][0], ROOT / "build-asan")
               for t in introspect("build-asan", "targets") if "/tests/fuzz/" in t["filename"][0]}
    if not build("build-asan", *targets.values()):
        return
    jobs = os.cpu_count() or 1
    each = options.fuzz or max(10, FUZZ_BUDGET * jobs // len(targets))
    print(f"\n== fuzz: {len(targets)} targets for {each} s each, {jobs} at a time")
    (RESULTS / "fuzz").mkdir()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        CASES.extend(pool.map(lambda name: fuzz_one(name, ROOT / "build-asan" / targets[name], each), targets))


def fuzz_one(name, binary, seconds):
    """One case. What it learns stays in .cache/fuzz for the next run; inputs that fail go to the results."""
    learned, seeds = ROOT / ".cache" / "fuzz" / name, ROOT / "tests" / "fuzz" / "corpus" / name
    learned.mkdir(parents=True, exist_ok=True)
    log = RESULTS / "fuzz" / f"{name}.log"
    with log.open("wb") as out:
        try:
            status = subprocess.run(
                [binary, f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=3000", "-print_final_stats=1",
                 f"-artifact_prefix={log.parent}/{name}-", learned, *([seeds] if seeds.is_dir() else [])],
                cwd=ROOT, stdout=out, stderr=out, timeout=seconds + 120).returncode
        except subprocess.TimeoutExpired:
            status = 124
    lines = log.read_text(errors="replace").splitlines()
    executions = next((line.split()[-1] for line in lines if line.startswith("stat::number_of_executed_units")), "0")
    print(f"fuzz {name}: {executions} executions" + (", FINDING" if status else ""), flush=True)
    if status:
        print("\n".join(lines[-60:]), flush=True)
    return Case(f"fuzz.{name}", "failed" if status else "passed", f"see {log}" if status else "")


PARTS = {"tidy": tidy, "format": check_format, "unit": unit, "e2e": e2e, "xdp": xdp, "release": release, "sim": sim,
         "interop": interop, "packages": packages, "browser": browser, "valgrind": valgrind, "tsan": tsan, "fuzz": fuzz}


def parse_options():
    parser = argparse.ArgumentParser(
        prog="tests/run", description="Installs missing Debian packages, builds and tests everything; ends with "
        "'N passed, N failed' and exit status 1 when anything failed. With CI=true a skipped case is a failed one.")
    parser.add_argument("--quick", action="store_true", help="unit and end-to-end tests only")
    parser.add_argument("--only", action="append", choices=PARTS, default=[], help="this part (may be repeated)")
    parser.add_argument("--fuzz", type=int, metavar="SECONDS",
                        help=f"every fuzz target for so long (600: ten minutes each), nothing else; otherwise they "
                        f"share {FUZZ_BUDGET} s")
    parser.add_argument("--sim-full", action="store_true",
                        help="200 worlds of each kind, 30 days each (within two hours on two cores), nothing else")
    return parser.parse_args()


def tally():
    """Prints what did not pass, and the last line; the exit status."""
    if os.environ.get("CI") == "true":
        for case in CASES:
            if case.outcome == "skipped":
                case.outcome, case.why = "failed", f"skipped in CI: {case.why}"
    print()
    for case in CASES:
        if case.outcome != "passed":
            print(f"{case.outcome}: {case.name}: {case.why}")
    count = {o: sum(case.outcome == o for case in CASES) for o in ("passed", "failed", "skipped")}
    print(f"{count['passed']} passed, {count['failed']} failed" +
          (f", {count['skipped']} skipped" if count["skipped"] else ""))
    return 1 if count["failed"] or not count["passed"] else 0


def main():
    options = parse_options()
    chosen = options.only + (["unit", "e2e"] if options.quick else []) + (["fuzz"] if options.fuzz else []) + \
        (["sim"] if options.sim_full else [])
    os.chdir(ROOT)
    os.environ.update(ENVIRONMENT)
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir()
    for name in chosen or PARTS:
        PARTS[name](options)
    return tally()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
