"""SIGHUP: all of what is reloadable takes effect, or, with any error, nothing."""
import shutil
import signal
import subprocess

import daemon as daemons
from ntsload import BINARY


def hang_up(d, says):
    """Sends SIGHUP and waits for the line that ends a reload."""
    before = d.log().count(says)
    d.write_config()
    d.process.send_signal(signal.SIGHUP)
    daemons.wait_for(lambda: d.log().count(says) > before, what=f"{says!r} in\n{d.log()}")


def answered(d):
    with d.ntp() as s:
        s.send(daemons.nts.plain_request())
        return s.receive(2) is not None


def test_access_policy_takes_effect_and_the_change_is_logged(start):
    with start() as d:
        assert answered(d)
        d.settings["access.deny"] = ["127.0.0.0/8"]
        hang_up(d, "reloaded ")
        assert not answered(d)
        assert 'reload: access.deny from [] to ["127.0.0.0/8"]' in d.log()
        d.settings["access.deny"] = []
        hang_up(d, "reloaded ")
        assert answered(d)


def test_an_error_changes_nothing(start):
    with start() as d:
        d.settings["access.deny"] = ["127.0.0.0/8"]
        d.settings["keys.keep"] = 0
        hang_up(d, "nothing is changed")
        assert answered(d)
        assert "keys.keep" in d.log()


def test_what_takes_a_restart_is_named(start):
    with start() as d:
        d.settings["keys.keep"] = 3
        hang_up(d, "reloaded ")
        assert "reload: keys.keep from 7 to 3: takes a restart" in d.log()


def test_certificate_is_replaced_and_a_bad_one_is_not(start, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    certificates = daemons.LabCertificates(str(old))
    fresh = daemons.LabCertificates(str(new))
    with start({"nts_ke.certificate": certificates.chain, "nts_ke.private_key": certificates.key}) as d:
        shutil.copy(fresh.chain, certificates.chain)  # the key is still the old one
        hang_up(d, "nothing is changed")
        d.associate(ca_file=certificates.ca)
        shutil.copy(fresh.key, certificates.key)
        hang_up(d, "reloaded ")
        d.associate(ca_file=fresh.ca)


def test_renewed_certificate_is_taken_up_by_itself(start, tmp_path):
    """As certbot renews: live/ has symbolic links, which are set to the new files one by one."""
    made = {}
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        made[version] = daemons.LabCertificates(str(tmp_path / version))
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"

    def link(path, target):
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    link(chain, made["1"].chain)
    link(key, made["1"].key)
    with start({"nts_ke.certificate": str(chain), "nts_ke.private_key": str(key)}) as d:
        d.associate(ca_file=made["1"].ca)
        link(chain, made["2"].chain)
        daemons.wait_for(lambda: d.metric("timeball_certificate_refused") == 1, 20, "half a renewal refused")
        d.associate(ca_file=made["1"].ca)
        link(key, made["2"].key)
        daemons.wait_for(lambda: d.metric("timeball_certificate_reloads_total") == 1, 20, "the renewal")
        d.associate(ca_file=made["2"].ca)
        assert d.metric("timeball_certificate_refused") == 0


def test_certificate_replaced_a_hundred_times_under_handshakes(start, tmp_path):
    """No handshake fails: neither with the one before nor with the one after."""
    made = []
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        made.append(daemons.LabCertificates(str(tmp_path / version)))
    live = tmp_path / "live"
    live.symlink_to(tmp_path / "1")
    with start({"nts_ke.certificate": str(live / "chain.pem"), "nts_ke.private_key": str(live / "key.pem")}) as d:
        with subprocess.Popen([BINARY, "ke", f"127.0.0.1:{d.ke_port}", "--duration", "300s", "--warm-up", "0s",
                               "--connections", "4", "--json", str(tmp_path / "report.json")],
                              stdout=subprocess.DEVNULL) as load:
            completed = lambda: d.metric("timeball_nts_ke_connections_total", outcome="completed")
            daemons.wait_for(lambda: completed() > 20, what="the load's start")
            for turn in range(1, 101):
                fresh = tmp_path / "fresh"
                fresh.symlink_to(tmp_path / ("2" if turn % 2 else "1"))
                fresh.rename(live)  # chain and key at one stroke
                seen = completed()
                assert d.command("reload") == "reloaded\n"
                daemons.wait_for(lambda: completed() > seen, what="handshakes go on")
            failed = {series: count for series, count in d.metrics().items()
                      if series.startswith("timeball_nts_ke_connections_total") and "completed" not in series and count}
            load.terminate()
        assert failed == {}, failed
        assert d.metric("timeball_certificate_reloads_total") == 100
        d.associate(ca_file=made[0].ca)
