"""timeball keys, reload and readmit against a running daemon, by its admin.socket."""
import contextlib
import json
import os
import socket
import stat

import pytest

import daemon as daemons
import ntslib as nts


@pytest.fixture(scope="module")
def server(start):
    with start() as d:
        yield d


def nts_reply(d, association):
    """Whether the association's next cookie is honoured: a reply, or a NAK."""
    request = nts.nts_request(association)
    with d.ntp() as s:
        packet = s.exchange(request.packet)
    if nts.is_nak(packet, request.transmit):
        return False
    nts.check_reply(packet, request)
    return True


def generations(d):
    return [(g["role"], int(g["id"], 16)) for g in json.loads(d.command("keys", "show", "--json"))["generations"]]


def test_socket_is_for_user_and_group_and_goes_with_the_daemon(start):
    with start() as d:
        path = d.settings["admin.socket"]
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    assert not os.path.exists(path)


def test_keys_show_tells_identifiers_and_ages_and_no_key(server):
    text = server.command("keys", "show")
    shown = server.command("keys", "show", "--json")
    keys = daemons.KeyFile.read(server.key_file)
    assert generations(server) == [("next", keys.next[0]), ("current", keys.current[0])]
    assert f"provider       file {server.key_file}" in text and f"current        {keys.current[0]:08x}" in text
    for _, key in keys.generations:
        assert key.hex() not in (text + shown).lower()


def test_rotate_keeps_cookies_good(server):
    association = server.associate()
    before = generations(server)
    assert "rotated" in server.command("keys", "rotate")
    after = generations(server)
    assert after[1][1] == before[0][1] and ("old", before[1][1]) in after
    assert nts_reply(server, association)
    assert daemons.KeyFile.read(server.key_file).current[0] == after[1][1]


def test_line_64_rekey_makes_every_cookie_worthless_at_once(server):
    association = server.associate()
    before = generations(server)
    assert "worthless" in server.command("keys", "rekey")
    assert not {i for _, i in generations(server)} & {i for _, i in before}
    assert not nts_reply(server, association)
    assert nts_reply(server, server.associate())
    assert "keys rekey: asked by user" in server.log()


def test_verify_sees_a_file_that_is_another_or_not_safe(server):
    assert "stored, whole and safe" in server.command("keys", "verify")
    ours = daemons.KeyFile.read(server.key_file)
    daemons.KeyFile.make(77).write(server.key_file)
    assert "holds other keys than those in use" in server.ask("keys", "verify").stderr
    ours.write(server.key_file, mode=0o644)
    refused = server.ask("keys", "verify")
    assert refused.returncode == 1 and "chmod 600" in refused.stderr
    ours.write(server.key_file)
    assert server.ask("keys", "verify").returncode == 0


def test_reload_says_whether_it_took_effect(server):
    server.settings["access.deny"] = ["192.0.2.0/24"]
    server.write_config()
    assert server.command("reload") == "reloaded\n"
    assert "access.deny" in server.log()
    server.settings["keys.keep"] = 0
    server.write_config()
    refused = server.ask("reload")
    assert refused.returncode == 1 and "nothing is changed" in refused.stderr and "keys.keep" in refused.stderr
    del server.settings["keys.keep"]
    server.write_config()


def test_readmit_without_a_receiver_says_so(server):
    assert "there is no receiver to take back" in server.ask("readmit").stderr


def test_unknown_commands_and_noise_are_refused(server):
    def say(octets):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(server.settings["admin.socket"])
            s.sendall(octets)
            return s.makefile("rb").read()

    assert b"no such command; there are alarms, clients, keys rekey" in say(b"halt and catch fire\n")
    with contextlib.suppress(ConnectionResetError):  # more than one command has: it hangs up
        assert say(b"x" * 300) == b""
    assert b"no such command" in say(bytes(range(11, 200)) + b"\n")
    assert generations(server)


def test_silent_clients_are_ended_and_do_not_fill_it(server):
    silent = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    for s in silent:
        s.settimeout(15)
        s.connect(server.settings["admin.socket"])
    assert all(s.recv(1) == b"" for s in silent)
    for s in silent:
        s.close()
    assert generations(server)


def test_nobody_there_is_said(server):
    gone = server.settings["admin.socket"] + "-not"
    done = daemons.subprocess.run([daemons.TOOL, "keys", "show", "--socket", gone], capture_output=True, text=True,
                                  timeout=30)
    assert done.returncode == 1 and "is timeballd running" in done.stderr


def test_socket_of_another_daemon_is_left_alone(server, start):
    with start({"admin.socket": server.settings["admin.socket"]}) as second:
        assert "is another daemon's; name another" in second.log()
    assert generations(server)
    # What a killed daemon left is taken over.
    with start() as d:
        path = d.settings["admin.socket"]
        d.kill()
        assert os.path.exists(path)
        d.start()
        assert generations(d)
