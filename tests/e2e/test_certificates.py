"""Several certificates, chosen by name and by type of key; each follows its files by itself."""
import os
import re
import subprocess
import time

import pytest

import daemon as daemons

ECDSA, RSA = "ECDSA+SHA256", "RSA-PSS+SHA256"


def served(d, name=None, signatures=f"{RSA}:{ECDSA}", ca=None):
    """(common name, type of key) that OpenSSL's own client is given; None: it is given none."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{d.ke_port}", "-tls1_3", "-alpn", "ntske/1", "-sigalgs", signatures,
               *(["-servername", name] if name else ["-noservername"]),
               *(["-CAfile", ca, "-verify_return_error"] if ca else [])]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=30)
    subject = re.search(r"^subject=CN = (\S+)", done.stdout, re.M)
    signature = re.search(r"^Peer signature type: (\S+)", done.stdout, re.M)
    return (subject[1], signature[1]) if done.returncode == 0 and subject and signature else None


def settings_of(*certificates):
    return {"nts_ke.certificate": [str(c.chain) for c in certificates],
            "nts_ke.private_key": [str(c.key) for c in certificates]}


@pytest.fixture(scope="module")
def several(start, tmp_path_factory):
    """The first two share their names; the third has another, the fourth a wildcard."""
    directory = tmp_path_factory.mktemp("several")
    made = {"ecdsa": daemons.LabCertificates(str(directory / "1"), ["one.test", "two.test"]),
            "rsa": daemons.LabCertificates(str(directory / "2"), ["one.test", "two.test"], is_rsa=True),
            "other": daemons.LabCertificates(str(directory / "3"), ["other.test"]),
            "wild": daemons.LabCertificates(str(directory / "4"), ["*.wild.test"])}
    with start(settings_of(*made.values())) as d:
        yield d, made


@pytest.mark.parametrize("name,subject", [("two.test", "one.test"), ("other.test", "other.test"),
                                          ("OTHER.test", "other.test"), ("a.wild.test", "*.wild.test"),
                                          ("a.b.wild.test", "one.test"), ("unknown.test", "one.test"),
                                          (None, "one.test")])
def test_the_name_chooses_and_the_first_is_for_all_others(several, name, subject):
    assert served(several[0], name) == (subject, "ECDSA")


@pytest.mark.parametrize("name", ["one.test", "unknown.test", None])
def test_the_clients_signatures_choose_the_type(several, name):
    d, made = several
    assert served(d, name, RSA, made["rsa"].ca) == ("one.test", "RSA-PSS")
    assert served(d, name, ECDSA, made["ecdsa"].ca) == ("one.test", "ECDSA")
    assert served(d, "other.test", RSA) is None  # nobody has that


def test_each_comes_with_its_own_chain_and_gives_keys(several):
    d, made = several
    for certificates, name in ((made["ecdsa"], "one.test"), (made["other"], "other.test"), (made["wild"], "x.wild.test")):
        assert d.associate(server_name=name, ca_file=certificates.ca).cookies


def test_each_tells_when_it_ends(several):
    d, made = several
    ends = [d.metric("timeball_certificate_not_after_timestamp_seconds", certificate=c.chain) for c in made.values()]
    assert all(abs(end - time.time() - 90 * 86400) < 3600 for end in ends)
    assert len([m for m in d.metrics() if m.startswith("timeball_certificate_not_after")]) == 4


def link(path, target):
    """In one stroke, as certbot does."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fresh = path + ".new"
    os.symlink(target, fresh)
    os.rename(fresh, path)


class Live:
    """certbot's directories for one name: archive/NAME/*N.pem, and live/NAME/*.pem, links to the newest."""

    def __init__(self, root, name):
        self.root, self.name = str(root), name
        self.chain = os.path.join(self.root, "live", name, "fullchain.pem")
        self.key = os.path.join(self.root, "live", name, "privkey.pem")
        self.newest = 0
        self.renew()

    def renew(self, **options):
        self.newest += 1
        made = daemons.LabCertificates(os.path.join(self.root, "archive", self.name, str(self.newest)), [self.name], **options)
        link(self.chain, made.chain)
        link(self.key, made.key)
        self.ca = made.ca
        return made


def test_two_names_of_certbot_are_renewed_with_no_hook_and_a_bad_one_stops_no_other(start, tmp_path):
    one, two = Live(tmp_path, "one.test"), Live(tmp_path, "two.test")
    renewed = lambda count: d.metric("timeball_certificate_reloads_total") == count
    refused = lambda live: d.metric("timeball_certificate_refused", certificate=live.chain) == 1
    with start(settings_of(one, two)) as d:
        one.renew()
        two.renew()
        daemons.wait_for(lambda: renewed(2), 20, "both renewed")
        assert served(d, "one.test", ca=one.ca) and served(d, "two.test", ca=two.ca)
        last_good = two.ca
        two.renew(days=-1)  # expired
        one.renew()
        daemons.wait_for(lambda: renewed(3) and refused(two), 20, "the good one renewed, the other refused")
        assert not refused(one)
        assert served(d, "one.test", ca=one.ca) and served(d, "two.test", ca=last_good)
        assert re.search(rf"certificate {two.chain} expired at .* UTC. Renew it; the certificate in use stays", d.log())
        two.renew()
        daemons.wait_for(lambda: renewed(4) and not refused(two), 20, "mended")
        assert served(d, "two.test", ca=two.ca)


def test_reload_adds_a_certificate_or_with_one_bad_file_nothing(start, tmp_path):
    one = daemons.LabCertificates(str(tmp_path / "1"), ["one.test"])
    two = daemons.LabCertificates(str(tmp_path / "2"), ["two.test"], days=-1)
    with start(settings_of(one)) as d:
        d.settings.update(settings_of(one, two))
        d.write_config()
        assert "nothing is changed" in d.ask("reload").stderr
        assert served(d, "two.test") == ("one.test", "ECDSA")
        # Where nothing was at the start the sandbox shows nothing.
        d.settings.update(settings_of(one, daemons.LabCertificates(str(tmp_path / "3"), ["two.test"])))
        d.write_config()
        if re.search(r"Landlock \d", d.log()):
            assert "does not show directories that nothing named at the start: restart" in d.ask("reload").stderr
        d.settings.update(settings_of(one, daemons.LabCertificates(str(tmp_path / "1" / "3"), ["two.test"])))
        d.write_config()
        d.command("reload")
        assert served(d, "two.test") == ("two.test", "ECDSA")
        assert "reload: nts_ke.certificate from " in d.log()


def test_what_cannot_be_used_is_said_at_the_start(start, tmp_path):
    one = daemons.LabCertificates(str(tmp_path / "1"), ["one.test"])
    two = daemons.LabCertificates(str(tmp_path / "2"), ["two.test"])
    d = start({**settings_of(one, two), "nts_ke.private_key": [one.key, one.key]})
    done = d.check()
    assert done.returncode != 0
    assert f'"{one.key}" is not the key of the certificate in "{two.chain}"' in done.stdout + done.stderr


def test_a_machine_that_boots_in_1970_serves_its_certificate(start, shim):
    shim.set(clock_offset_s=-int(time.time()) + 60)
    with start(refclock={"driver": "system"}, environment=shim.environment()) as d:
        assert "is not valid before" in d.log()
        assert d.ke_port and served(d, daemons.SERVER_NAME, ca=d.certificates.ca)
        # The battery is dead the other way: everything seems to have expired.
        shim.set(clock_offset_s=10 * 365 * 86400)
        d.restart()
        assert served(d, daemons.SERVER_NAME, ca=d.certificates.ca)


def test_an_expired_certificate_is_said_once_the_time_is_known(start, tmp_path):
    expired = daemons.LabCertificates(str(tmp_path / "expired"), ["one.test"], days=-1)
    d = start(settings_of(expired))
    done = d.check()
    assert done.returncode == 0 and " expired at " in done.stdout + done.stderr
    with d:  # trusts the kernel's clock
        daemons.wait_for(lambda: "clients refuse it" in d.log(), 20, "said")
        assert d.metric("timeball_certificate_refused", certificate=expired.chain) == 1
        assert served(d, "one.test") == ("one.test", "ECDSA")  # to whoever does not look at dates
        assert d.command("reload") == "reloaded\n"  # of other settings
