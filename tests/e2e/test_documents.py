"""Man pages and bash completions: that they are there, that man and bash understand them, and that they have every
option that --help has."""
import os
import re
import select
import subprocess
import time

import daemon as daemons
import pytest

COMMANDS = {"timeball": ("server", 1), "timeballd": ("server", 8), "ntsload": ("bench", 1),
            "refclock-sim": ("refclock", 1), "refclock-decode": ("refclock", 1)}
DEPLOY = os.path.join(daemons.BUILD, "deploy")
PAGES = [os.path.join(DEPLOY, f"{name}.{section}") for name, (_, section) in COMMANDS.items()] + \
    [os.path.join(DEPLOY, "timeballd.toml.5"), os.path.join(daemons.ROOT, "deploy", "man", "timeball-keys.5")]


def program(name):
    return os.path.join(daemons.BUILD, COMMANDS[name][0], name)


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("page", PAGES, ids=os.path.basename)
def test_man_and_its_lints_have_no_complaint(page):
    shown = run("groff", "-man", "-ww", "-Tutf8", "-rLL=79n", page)
    assert shown.returncode == 0 and not shown.stderr, shown.stderr
    complaints = [line for line in run("mandoc", "-T", "lint", "-W", "warning", page).stdout.splitlines()
                  if "missing date" not in line]
    assert not complaints
    name = os.path.basename(page).rsplit(".", 1)[0]
    assert re.fullmatch(rf"{re.escape(name)} - .{{10,}}\n", run("lexgrog", page).stdout.split(": ", 1)[1].strip('"\n') + "\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_page_has_every_option_of_the_help(name):
    page = run("man", "-l", os.path.join(DEPLOY, f"{name}.{COMMANDS[name][1]}"),
               env={**os.environ, "MANWIDTH": "200", "LC_ALL": "C.UTF-8"}).stdout
    commands = re.findall(rf"^ +{name} (.*?)(?: [A-Z[].*)?$", page.split("SYNOPSIS")[1].split("DESCRIPTION")[0], re.M)
    helps = [run(program(name), "--help").stdout]
    for command in commands:
        words = [w for w in command.split() if w.islower() and w[0] != "-"]
        if words:
            helps.append(run(program(name), *words, "--help").stdout)
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", "\n".join(helps)))
    assert len(options) >= 3
    for option in options:
        assert option in page, option


def test_settings_page_has_every_setting():
    with open(os.path.join(DEPLOY, "timeballd.toml.5"), encoding="utf-8") as f:
        page = f.read()
    printed = run(daemons.BINARY, "--print-config").stdout
    settings = re.findall(r"^(?:# )?(\w+) = ", printed, re.M)
    assert len(settings) > 50
    for setting in settings:
        assert f"\n.B {setting} = " in page, setting


def completions(name, *words):
    """What bash offers for the last of the words."""
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); function=$(complete -p "$1"); ' \
        'function=${function##*-F }; "${function%% *}" "$1"; printf "%s\\n" "${COMPREPLY[@]}"'
    done = run("bash", "-c", script, "bash", os.path.join(DEPLOY, name), name, *words)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return set(done.stdout.split())


def test_completion_of_commands_and_options():
    assert completions("timeball", "") >= {"query", "cert", "keys", "reload", "readmit", "--help"}
    assert completions("timeball", "ke") == {"keys"}
    assert completions("timeball", "keys", "re") == {"rekey"}
    assert completions("timeball", "query", "--in") == {"--insecure", "--interval"}
    assert completions("timeball", "query", "--aead", "") == {"15", "16", "17", "30"}
    assert completions("timeball", "query", "--count", "") == set()
    assert completions("refclock-sim", "--rubidium", "sa") == {"sa22c", "sa5x"}
    assert completions("ntsload", "") >= {"ke", "ntp"}
    assert "--rate" in completions("ntsload", "ke", "--r")
    assert completions("timeballd", "--c") >= {"--config", "--check"}


def test_completion_of_files(tmp_path):
    (tmp_path / "one.toml").touch()
    assert completions("timeballd", "--config", f"{tmp_path}/o") == {f"{tmp_path}/one.toml"}
    (tmp_path / "certs").mkdir()
    assert completions("timeball", "cert", "lab", f"{tmp_path}/") == {f"{tmp_path}/certs"}


@pytest.mark.parametrize("name", COMMANDS)
def test_bash_takes_each_script(name):
    assert "--help" in completions(name, "--h")


def test_a_tab_in_a_bash_with_a_terminal():
    ours, theirs = os.openpty()
    with subprocess.Popen(["bash", "--norc", "--noprofile", "-i"], stdin=theirs, stdout=theirs, stderr=theirs,
                          start_new_session=True, env={**os.environ, "PS1": "$ ", "TERM": "dumb"}) as bash:
        try:
            os.write(ours, f"source {DEPLOY}/timeball; echo rea''dy\n".encode())
            shown = read_until(ours, b"ready")
            os.write(ours, b"timeball que\t")
            shown = read_until(ours, b"timeball query ")
            assert b"timeball query " in shown, shown
        finally:
            bash.kill()
            os.close(theirs)
            os.close(ours)


def read_until(terminal, wanted, seconds=10):
    shown, end = b"", time.monotonic() + seconds
    while wanted not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096)
    return shown


def test_the_units_that_the_manual_names_are_there():
    units = {os.path.splitext(name)[0] for name in os.listdir(os.path.join(daemons.ROOT, "deploy", "systemd"))
             if name.endswith((".service", ".socket"))}
    others = {"chrony", "gpsd", "prometheus", "serial-getty@ttyS0"}
    named = set()
    for document in ("README.md", "deploy/OPERATIONS.md", "deploy/SECURITY.md"):
        with open(os.path.join(daemons.ROOT, document), encoding="utf-8") as f:
            text = f.read()
        for words in re.findall(r"(?:systemctl (?:status|start|stop|restart|reload|enable|disable)|journalctl (?=-\w*u))([^`|;&\n]*)", text):
            named |= {re.sub(r"\.(socket|service)$", "", w) for w in words.split() if not re.fullmatch(r"-.*|\d+", w)}
    assert len(named) >= 3
    assert named <= units | others, named - units - others
