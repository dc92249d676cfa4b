"""The conformance checklist, lines 29 and 61 to 63: the master keys and what happens without them."""
import os
import re
import subprocess
import time

import pytest

import daemon as daemons
import ntslib as nts

INTERNAL_ERROR = 2


def start_fails(d):
    """The daemon ends by itself, without serving; returns what it said."""
    d.spawn()
    process, d.process = d.process, None
    try:
        status = process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail(f"it started:\n{d.log()}")
    d.check_log()
    assert status in (1, 2), f"exit status {status}\n{d.log()}"
    return d.log()


def test_line_29_internal_failure_gives_error_2(start, shim):
    """The exporter fails: Error 2, no cookies; and service resumes with the library."""
    with start(environment=shim.environment()) as d:
        d.associate()
        shim.set(fail_export=True)
        for _ in range(3):
            assert d.ke_error(nts.ke_request()) == INTERNAL_ERROR
        shim.set()
        with d.ntp() as s:
            s.nts(d.associate())


def test_line_29_cookies_that_cannot_be_made_give_error_2(start, shim):
    """Every AES call of ours fails: the keys are exported, but no cookie can be sealed."""
    with start({"nts_ke.threads": 1, **daemons.ALL_BY_OPENSSL}, environment=shim.environment()) as d:
        d.associate()
        shim.set(fail_encrypt_one_in=1)
        for _ in range(3):
            assert d.ke_error(nts.ke_request()) == INTERNAL_ERROR
        shim.set()
        with d.ntp() as s:
            s.nts(d.associate())


def test_line_29_a_generator_that_fails_gives_error_2(start, shim):
    """Nonces are drawn from a store that lasts some thirty responses: so many, and it must be filled again."""
    with start({"nts_ke.threads": 1, **daemons.ALL_BY_OPENSSL}, environment=shim.environment()) as d:
        d.associate()
        shim.set(fail_encrypt_one_in=1)
        for _ in range(40):
            assert d.ke_error(nts.ke_request()) == INTERNAL_ERROR
        shim.set()
        d.associate()


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def current_id(d):
    return daemons.KeyFile.read(d.key_file).current[0]


def test_line_61_daily_by_default():
    printed = subprocess.run([daemons.BINARY, "--print-config"], capture_output=True, text=True, timeout=30,
                             check=True).stdout
    assert re.search(r'^rotation = "(24h|1d)"', printed, re.M)
    assert re.search(r"^keep = 7\b", printed, re.M)


def test_line_61_steps_of_the_clock_move_no_rotation(start, shim):
    """To 1970, then far ahead, then back: a key every two seconds of real time, no more and no fewer."""
    with start({"keys.rotation": "2s"}, environment=shim.environment()) as d, d.ntp() as s:
        a = d.associate()
        for offset in (-int(time.time()) + 100, 20 * 365 * 86400, 0):
            first, began = current_id(d), time.monotonic()
            shim.set(clock_offset_s=offset)
            time.sleep(3.4)
            s.nts(a)
            rotations = (current_id(d) - first) & 0xFFFFFFFF
            elapsed = time.monotonic() - began
            assert 1 <= rotations <= elapsed / 2 + 1, (offset, rotations, elapsed)


def test_line_61_starts_and_serves_in_1970(start, shim):
    """An appliance without a clock battery: the keys of before are kept and used."""
    d = start(environment=shim.environment())
    with d:
        a = d.associate()
    keys = daemons.KeyFile.read(d.key_file)
    shim.set(clock_offset_s=-int(time.time()) + 60)
    with d, d.ntp() as s:
        s.nts(a)
        s.nts(d.associate())
        time.sleep(2.2)  # two looks at the clock
        assert daemons.KeyFile.read(d.key_file).current == keys.current
        shim.set(clock_offset_s=0)  # the time has been found
        time.sleep(2.2)
        assert daemons.KeyFile.read(d.key_file).current == keys.current
        s.nts(a)


def test_line_62_retired_keys_are_erased(start):
    """From the file and, as far as a look at /proc/PID/mem can tell, from memory."""
    d = start({"keys.keep": 1, "keys.rotation": "2s", "ntp.shards": 1, "nts_ke.threads": 1})
    with d, d.ntp() as s:
        s.nts(d.associate())
        before = daemons.KeyFile.read(d.key_file)
        assert daemons.in_memory(d.process.pid, {before.current[1]}), "cannot find a live key: the test is blind"
        gone = daemons.wait_for(lambda: file_without(d, before.current[0]), what="retirement")
        assert before.current[1].hex() not in read(d.key_file)
        assert len(gone.generations) == 3
        time.sleep(2.5)  # nobody asks it anything any more
        found = daemons.in_memory(d.process.pid, daemons.traces(before.current[1]))
        assert not found, f"{len(found)} traces of a retired key: {[len(n) for n in found]} octets"
        s.nts(d.associate())


def test_line_62_no_text_of_the_file_stays_in_memory(start):
    """Keys in use are there as octets, never in the file's form: that would outlive them."""
    d = start({"keys.keep": 300, "ntp.shards": 1, "nts_ke.threads": 1})
    # Long, so that what is freed is not soon written over; of long ago: read, rotated, written at once.
    daemons.KeyFile.make(1000, old=300, rotated=1).write(d.key_file)
    with d:
        daemons.wait_for(lambda: current_id(d) == 1001, what="rotation")
        d.metrics()  # told by the thread that rotates: it is done with the file
        keys = daemons.KeyFile.read(d.key_file).generations[::15]
        assert daemons.in_memory(d.process.pid, {keys[0][1]}), "cannot find a live key: the test is blind"
        texts = [key.hex().encode() for _, key in keys]
        assert not daemons.in_memory(d.process.pid, {half for text in texts for half in (text[:32], text[32:])})


def file_without(d, identifier):
    keys = daemons.KeyFile.read(d.key_file)
    return keys if identifier not in dict(keys.generations) else None


def test_line_63_file_is_private_whatever_the_umask(start):
    d = start(wrapper=("sh", "-c", 'umask 0; exec "$@"', "sh"))
    with d:
        status = os.stat(d.key_file)
        assert status.st_mode & 0o777 == 0o600 and status.st_uid == os.geteuid()
        assert os.listdir(os.path.dirname(d.key_file)).count("master-keys") == 1
        assert not [n for n in os.listdir(d.directory) if "tmp" in n]


def test_line_63_replaced_durably(start, shim):
    """Temporary file, fsync, rename, fsync of the directory: in this order, at each rotation."""
    with start({"keys.rotation": "1s"}, environment=shim.environment()) as d:
        first = current_id(d)
        daemons.wait_for(lambda: current_id(d) != first)
        calls = shim.calls()[:3]
    temporary = calls[0][1]
    assert calls == [["fsync", temporary], ["rename", temporary, d.key_file], ["fsync", d.directory]]
    assert os.path.dirname(temporary) == d.directory and temporary != d.key_file


def test_line_63_symbolic_link_is_refused(start, tmp_path):
    d = start()
    target = tmp_path / "elsewhere"
    keys = daemons.KeyFile.make(5)
    keys.write(str(target))
    os.symlink(target, d.key_file)
    assert d.key_file in start_fails(d)
    assert target.read_text() == keys.text()


def test_line_63_rotation_does_not_write_through_a_link(start, tmp_path):
    """A link put in the file's place, or in the temporary file's, is replaced, not followed."""
    with start({"keys.rotation": "1s"}) as d:
        target = tmp_path / "victim"
        target.write_text("precious")
        first = current_id(d)
        os.symlink(target, d.key_file + ".tmp")
        daemons.wait_for(lambda: current_id(d) != first)
        os.unlink(d.key_file)
        os.symlink(target, d.key_file)
        daemons.wait_for(lambda: not os.path.islink(d.key_file))
        assert target.read_text() == "precious"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o620])
def test_line_63_file_open_to_others_is_refused(start, mode):
    d = start()
    daemons.KeyFile.make(5).write(d.key_file, mode)
    assert d.key_file in start_fails(d)


def test_line_63_file_of_somebody_else_is_refused(start):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    d = start()
    daemons.KeyFile.make(5).write(d.key_file)
    os.chown(d.key_file, 65534, 65534)
    assert d.key_file in start_fails(d)


def damaged(text):
    """By name: key files that must not be believed."""
    lines = text.splitlines(keepends=True)
    yield "empty", ""
    yield "garbage", "x" * 500
    yield "last octet missing", text[:-1]
    yield "last line missing", "".join(lines[:-1])
    yield "half", text[: len(text) // 2]
    yield "one digit changed", text.replace(lines[3][-5:-1], "ffff" if "ffff" not in lines[3] else "0000", 1)
    yield "octets behind", text + "old 00000001 " + "00" * 32 + "\n"
    yield "doubled", text * 2
    yield "zeros", "\0" * len(text)


@pytest.mark.parametrize("what", range(9))
def test_line_63_damaged_file_is_refused_whole_and_left_alone(start, what):
    d = start()
    name, text = list(damaged(daemons.KeyFile.make(5, old=2).text()))[what]
    daemons.write_file(d.key_file, text.encode())
    said = start_fails(d)
    assert d.key_file in said, name
    assert read(d.key_file) == text, "evidence destroyed"


def test_line_63_keys_stay_when_the_file_is_damaged_under_a_running_daemon(start):
    with start() as d, d.ntp() as s:
        a = d.associate()
        daemons.write_file(d.key_file, b"garbage")
        time.sleep(1.2)  # the key store has looked at the time
        for _ in range(3):
            s.nts(a)
        s.nts(d.associate())


def test_line_63_keys_stay_when_the_file_cannot_be_written(start):
    """The directory is gone: no rotation, an alarm, service as before under the key that is on the disk."""
    with start({"keys.rotation": "3s"}) as d, d.ntp() as s:
        a = d.associate()
        away = d.directory + "-away"
        os.rename(d.directory, away)
        try:
            kept = daemons.KeyFile.read(away + "/master-keys").current[0]
            daemons.wait_for(lambda: d.metric("timeball_keys_write_failures_total") > 0, what="an alarm")
            assert "cannot be written" in read(away + "/log")
            for _ in range(3):
                assert {daemons.cookie_key_id(c) for c in s.nts(a, placeholders=1).cookies} == {kept}
            assert {daemons.cookie_key_id(c) for c in d.associate().cookies} == {kept}
            assert d.metric("timeball_keys_current_id") == kept
        finally:
            os.rename(away, d.directory)


def test_line_63_file_is_made_when_there_is_none(start):
    with start() as d:
        keys = daemons.KeyFile.read(d.key_file)
        assert len(keys.generations) == 2
        assert abs(keys.rotated - time.time()) < 60
        assert len({k for _, k in keys.generations}) == 2
