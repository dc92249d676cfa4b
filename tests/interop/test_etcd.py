"""One etcd, and timeballd as its client: what lies there, who may, and what happens when it is not as it should be."""
import collections
import os
import re
import subprocess

import daemon as daemons
import ntslib as nts
import pytest
from daemon import wait_for
from etcd import Etcd

KEYS = "/timeball/lab/keys"


def write_secret(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def etcd(namespace, tmp_path):
    (tmp_path / "etcd").mkdir()
    with Etcd(tmp_path / "etcd", "e1", {"e1": "127.0.0.1"}) as member:
        wait_for(member.healthy, 20, "etcd is up")
        yield member


@pytest.fixture
def cluster_key(tmp_path):
    return tmp_path / "cluster.key"


@pytest.fixture
def settings(etcd, cluster_key):
    write_secret(cluster_key, os.urandom(32).hex() + "\n")
    return {"keys.provider": "etcd", "etcd.endpoints": [etcd.endpoint], "etcd.cluster": "lab",
            "etcd.key_file": str(cluster_key)}


def has_keys(server):
    return server.metric("timeball_keys_generations") >= 2


@pytest.fixture
def pair(make_server, settings):
    with make_server(settings) as one, make_server(settings) as two:
        wait_for(lambda: has_keys(one) and has_keys(two), 15, "keys at both")
        yield one, two


def ask(server, association, patience=5):
    """The reply to one of its cookies: "reply" or "nak"; None: silence."""
    request = nts.nts_request(association, cookie=association.cookies[0])
    with server.ntp() as s:
        s.send(request.packet)
        reply = s.receive(patience)
    if reply is None:
        return None
    if nts.is_nak(reply, request.transmit):
        return "nak"
    nts.check_reply(reply, request)
    return "reply"


def refused(server):
    return server.metric("timeball_cluster_keys_refused") == 1


def in_contact(server):
    return server.metric("timeball_cluster_in_contact") == 1


def test_each_opens_the_others_cookies_and_one_of_them_rotates(pair):
    for giver, asked in (pair, pair[::-1]):
        assert ask(asked, giver.associate()) == "reply"
    assert sum(server.metric("timeball_cluster_rotates") for server in pair) == 1
    shown = [server.command("keys", "show") for server in pair]
    assert shown[0].splitlines()[-2:] == shown[1].splitlines()[-2:], shown
    assert "etcd" in shown[0] and "lab, sequence 1: in contact" in shown[0], shown


def test_what_lies_in_etcd_and_in_the_local_copy_is_sealed(pair, etcd):
    text = etcd.ask("get", "--print-value-only", KEYS)
    assert text.startswith("timeball-cluster-keys 1\ncluster lab\nsequence 1\naead 15\nsealed ")
    for server in pair:
        with open(server.key_file, encoding="ascii") as copy:
            assert copy.read() == text.rstrip("\n") + "\n"
        assert os.stat(server.key_file).st_mode & 0o777 == 0o600
        assert "stored, whole and safe" in server.command("keys", "verify")


def test_a_restart_without_etcd_goes_on_from_the_local_copy(pair, etcd):
    one, _ = pair
    association = one.associate()
    one.stop()
    etcd.end()
    one.start()
    assert ask(one, association) == "reply"
    assert ask(one, one.associate()) == "reply"
    wait_for(lambda: "cut off from etcd" in one.log(), 15, "the alarm")
    assert not in_contact(one)
    assert "etcd does not answer" in one.ask("keys", "rotate").stderr
    assert "etcd does not answer" in one.ask("keys", "verify").stderr
    etcd.begin()
    wait_for(lambda: in_contact(one), 20, "the alarm is over")
    assert "answers again" in one.log()


def calls_on(trace):
    """[(system call, which of its thread's)] in order: strace's injection counts for each thread, too."""
    seen, found = collections.Counter(), []
    for thread, name in re.findall(r"^(\d+) +(\w+)\(", trace.read_text(errors="replace"), re.M):
        seen[thread, name] += 1
        found.append((name, seen[thread, name]))
    return list(dict.fromkeys(found))


def test_killed_at_each_call_that_writes_the_local_copy_leaves_old_or_new(pair, etcd, tmp_path):
    """Each start meets a newer document in etcd than in its copy, and writes that; then it starts without etcd."""
    one, two = pair
    one.stop()
    with open(one.key_file, encoding="ascii") as copy:
        old = copy.read()
    wait_for(lambda: two.ask("keys", "rotate").returncode == 0, 20, "rotated")
    new = etcd.ask("get", "--print-value-only", KEYS).rstrip("\n") + "\n"
    trace, temporary = tmp_path / "trace", one.key_file + ".tmp"
    strace = ["strace", "-f", "-qq", "-o", str(trace), f"--trace-path={temporary}", f"--trace-path={one.directory}"]

    def begin(*wrapper):
        daemons.write_file(one.key_file, old.encode())
        one.wrapper = list(wrapper)
        one.spawn()

    begin(*strace)
    wait_for(lambda: os.path.exists(one.key_file) and open(one.key_file).read() == new, 20, "the copy is written")
    wait_for(one._ready, 20, "ready")
    subprocess.run(["pkill", "-TERM", "-P", str(one.process.pid)], check=True)
    one.process.wait(20)
    calls = calls_on(trace)
    assert {"openat", "write", "fsync", "rename"} <= {call for call, _ in calls}, calls
    outcomes = set()
    for call, n in calls:
        begin(*strace, f"--inject={call}:signal=KILL:when={n}")
        assert one.process.wait(20) in (-9, 137), (call, n, one.log())
        with open(one.key_file, encoding="ascii") as copy:
            left = copy.read()
        assert left in (old, new), (call, n)
        outcomes.add(left)
        one.wrapper = []
        one.settings["etcd.endpoints"] = ["127.0.0.1:1"]  # nobody
        one.start()
        assert has_keys(one) and not os.path.exists(temporary), (call, n)
        one.stop()
        one.settings["etcd.endpoints"] = [etcd.endpoint]
    assert outcomes == {old, new}, "not both were seen: the test is blind"


def test_without_etcd_and_without_a_copy_it_waits(make_server, settings, etcd):
    etcd.end()
    with make_server(settings) as server:
        stranger = daemons.made_up_association((7, bytes(32)))
        assert ask(server, stranger, patience=0.5) is None
        server.expect_verdict("dropped_no_keys", 1)
        assert server.ke_error(nts.ke_request()) == 2
        assert "no keys yet" in server.ask("keys", "show").stderr
        etcd.begin()
        wait_for(lambda: has_keys(server), 20, "keys")
        assert ask(server, server.associate()) == "reply"


def test_rotation_by_hand_reaches_all_and_leaves_no_old_keys_in_etcds_history(pair, etcd):
    one, two = pair
    association = one.associate()
    revision = etcd.get(KEYS)["mod_revision"]
    wait_for(lambda: one.ask("keys", "rotate").returncode == 0, 15, "rotated")
    wait_for(lambda: two.metric("timeball_cluster_sequence") == 2, 5, "heard of it")
    for server in pair:
        assert ask(server, association) == "reply"
    assert "rotated a moment ago" in two.ask("keys", "rotate").stderr
    old = subprocess.run([*map(str, etcd.ctl), "get", KEYS, f"--rev={revision}"], capture_output=True, text=True,
                         env={**os.environ, "ETCDCTL_API": "3"}, timeout=20)
    assert old.returncode != 0 and "compacted" in old.stderr, old


def test_rekey_at_one_ends_every_cookie_at_all(pair):
    one, two = pair
    association = one.associate()
    two.command("keys", "rekey")
    wait_for(lambda: one.metric("timeball_cluster_sequence") == 2, 5, "heard of it")
    for server in pair:
        assert ask(server, association) == "nak"
        assert ask(server, one.associate()) == "reply"


def test_an_old_document_put_back_is_replaced(pair, etcd):
    one, two = pair
    old = etcd.ask("get", "--print-value-only", KEYS).rstrip("\n") + "\n"
    wait_for(lambda: one.ask("keys", "rotate").returncode == 0, 15, "rotated")
    wait_for(lambda: two.metric("timeball_cluster_sequence") == 2, 5, "heard of it")
    association = one.associate()
    etcd.ask("put", KEYS, old)
    wait_for(lambda: all(s.metric("timeball_cluster_sequence") >= 3 for s in pair), 10, "theirs is put back")
    etcd.ask("del", KEYS)
    wait_for(lambda: all(s.metric("timeball_cluster_sequence") >= 4 for s in pair), 10, "and again")
    for server in pair:
        assert ask(server, association) == "reply"


def test_what_is_not_authentic_is_refused_and_left_alone(pair, etcd):
    one, two = pair
    association = one.associate()
    good = etcd.ask("get", "--print-value-only", KEYS).rstrip("\n") + "\n"
    for bad in ("nonsense", good.replace("sequence 1", "sequence 9")):
        etcd.ask("put", KEYS, bad)
        wait_for(lambda: refused(one) and refused(two), 10, "refused")
        assert "refuse" in one.ask("keys", "rotate").stderr
        assert ask(two, association) == "reply"
        assert etcd.ask("get", "--print-value-only", KEYS).rstrip("\n") == bad.rstrip("\n")
    etcd.ask("put", KEYS, good)
    wait_for(lambda: not refused(one) and not refused(two), 10, "taken again")
    assert one.log().count("is refused") == 2, "said once each"


def test_the_cluster_key_is_changed_under_way(pair, etcd, cluster_key):
    one, two = pair
    old, new = cluster_key.read_text(), os.urandom(32).hex() + "\n"
    sealed_by = etcd.ask("get", "--print-value-only", KEYS).split("sealed ")[1][:8]
    write_secret(cluster_key, old + new)
    one.restart()
    write_secret(cluster_key, new + old)
    two.restart()
    association = one.associate()
    wait_for(lambda: two.ask("keys", "rotate").returncode == 0, 20, "rotated by one that has the new key")
    wait_for(lambda: one.metric("timeball_cluster_sequence") == 2, 5, "the other opens it")
    assert etcd.ask("get", "--print-value-only", KEYS).split("sealed ")[1][:8] != sealed_by
    assert ask(one, association) == "reply"


def test_a_wrong_cluster_key_spoils_nothing(pair, make_server, settings, etcd, tmp_path):
    other = {**settings, "etcd.key_file": write_secret(tmp_path / "other.key", os.urandom(32).hex())}
    before = etcd.get(KEYS)
    with make_server(other) as stranger:
        wait_for(lambda: refused(stranger), 10, "refused")
        assert "sealed under a cluster key that is not held here" in stranger.log()
        assert not stranger.metric("timeball_keys_generations")
    assert etcd.get(KEYS) == before


def test_tls_with_client_certificates_and_a_password(make_server, settings, tmp_path):
    (tmp_path / "tls").mkdir()
    (tmp_path / "secure").mkdir()
    address = "127.0.0.2"  # the other etcd has 127.0.0.1
    # With passwords etcd's gateway takes no certificate that bears a common name.
    tls = daemons.LabCertificates(str(tmp_path / "tls"), addresses=[daemons.HOST, address], subject="")
    with Etcd(tmp_path / "secure", "e1", {"e1": address}, tls=tls) as etcd:
        wait_for(etcd.healthy, 20, "etcd is up")
        for words in ("user add root:secret", "user grant-role root root", "user add timeball:sesame",
                      "role add timeball", "role grant-permission timeball --prefix readwrite /timeball/lab/",
                      "user grant-role timeball timeball", "auth enable"):
            etcd.ask(*words.split())
        settings = {**settings, "etcd.endpoints": [etcd.endpoint], "etcd.ca": tls.ca, "etcd.certificate": tls.chain,
                    "etcd.private_key": tls.key, "etcd.user": "timeball",
                    "etcd.password_file": write_secret(tmp_path / "password", "sesame\n")}
        with make_server(settings) as one, make_server(settings) as two:
            wait_for(lambda: has_keys(one) and has_keys(two), 15, "keys at both")
            assert ask(two, one.associate()) == "reply"
        no_word = {**settings, "etcd.password_file": write_secret(tmp_path / "wrong", "guess\n")}
        no_certificate = {**settings, "etcd.certificate": "", "etcd.private_key": ""}
        for wrong, why in ((no_word, "authentication failed"), (no_certificate, "certificate")):
            with make_server(wrong) as server:
                wait_for(lambda: "cut off from etcd" in server.log(), 15, "the alarm")
                assert why in server.log(), server.log()


def test_a_credential_of_systemd_is_the_cluster_key(make_server, settings, tmp_path, cluster_key):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "cluster").write_text(cluster_key.read_text())
    settings = {**settings, "etcd.key_file": "credential:cluster"}
    with make_server(settings, environment={"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}) as server:
        wait_for(lambda: has_keys(server), 15, "keys")
    bare = make_server(settings)
    bare.spawn()
    assert bare.process.wait(20) == 1 and "LoadCredential=" in bare.log()


@pytest.mark.parametrize("change, message", (
    (lambda key: key.chmod(0o644), "others may use it"),
    (lambda key: key.write_text("secret\n"), "openssl rand -hex 32"),
))
def test_a_cluster_key_that_cannot_be_used_ends_the_start_with_one_line(make_server, settings, cluster_key, change,
                                                                        message):
    change(cluster_key)
    server = make_server(settings)
    server.spawn()
    assert server.process.wait(20) == 1
    assert message in server.log() and server.log().count("\n") == 1, server.log()
