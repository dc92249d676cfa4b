#include "server/settings_check.h"

#include <algorithm>
#include <vector>

#include "server/settings_table.h"
#include "server/settings_toml.h"

namespace timeball::server {
namespace {

using net::Endpoint;

constexpr std::size_t kMostInterfaceName = 15;

// Reports each endpoint that stands twice in one list.
void check_repeats(const std::string& path, const std::vector<Endpoint>& listen, Draft& draft) {
  for (auto it = listen.begin(); it != listen.end(); ++it) {
    if (std::find(listen.begin(), it, *it) != it) {
      draft.error(path, it->to_string() + " stands twice; remove one");
    }
  }
}

// Whether two TCP listeners cannot both be bound: the wildcard address takes the whole port.
bool clash(const Endpoint& a, const Endpoint& b) {
  return a.port == b.port && a.family() == b.family() && a.scope == b.scope && a != b &&
         (a.address.is_unspecified() || b.address.is_unspecified());
}

void check_xdp(Draft& draft) {
  const NtpConfig& ntp = draft.loaded.config.ntp;
  const auto& names = ntp.xdp_interfaces;
  if (ntp.io == net::IoBackend::kXdp && names.empty() && !draft.refused("ntp.xdp_interfaces")) {
    draft.error(
        "ntp.io",
        "\"xdp\" needs xdp_interfaces; name at least one, such as \"eth0\" (ip link lists them)");
  }
  if (ntp.io != net::IoBackend::kXdp && !names.empty()) {
    draft.warning("ntp.xdp_interfaces", "is not used unless ntp.io is \"xdp\"");
  }
  for (auto it = names.begin(); it != names.end(); ++it) {
    if (it->size() > kMostInterfaceName) {
      draft.error("ntp.xdp_interfaces", quote_toml(*it) +
                                            " is longer than the name of any network "
                                            "interface (15 characters); see ip link");
    }
    if (std::find(names.begin(), it, *it) == it) continue;
    draft.error("ntp.xdp_interfaces", quote_toml(*it) + " stands twice; remove one");
  }
}

void check_ntp(Draft& draft) {
  const NtpConfig& ntp = draft.loaded.config.ntp;
  if (ntp.listen.empty() && !draft.loaded.config.nts_ke.enabled) {
    draft.error("ntp.listen",
                "no address, and nts_ke.enabled is false: nothing is served; write at least one "
                "address, such as \"0.0.0.0:123\"");
  }
  check_repeats("ntp.listen", ntp.listen, draft);
  check_xdp(draft);
  if (ntp.require_nts && !draft.loaded.config.nts_ke.enabled) {
    draft.warning("ntp.require_nts",
                  "new clients cannot get keys here while nts_ke.enabled is false; "
                  "make sure that another process that shares the key file gives them");
  }
}

void check_nts_ke_listeners(Draft& draft) {
  const auto& listen = draft.loaded.config.nts_ke.listen;
  if (listen.empty()) {
    draft.error("nts_ke.listen",
                "no address; write at least one, such as \"0.0.0.0:4460\", or set nts_ke.enabled "
                "to false");
  }
  check_repeats("nts_ke.listen", listen, draft);
  for (auto it = listen.begin(); it != listen.end(); ++it) {
    const auto other =
        std::find_if(listen.begin(), it, [&](const Endpoint& e) { return clash(e, *it); });
    if (other == it) continue;
    draft.error("nts_ke.listen", other->to_string() + " and " + it->to_string() +
                                     " take the same port; keep the one with the wildcard address");
  }
}

void check_aeads(Draft& draft) {
  const auto& aeads = draft.loaded.config.nts_ke.aeads;
  if (aeads.empty()) {
    draft.error("nts_ke.aeads", "no algorithm; write at least one, such as [15]");
    return;
  }
  for (auto it = aeads.begin(); it != aeads.end(); ++it) {
    if (std::find(aeads.begin(), it, *it) != it) {
      draft.error("nts_ke.aeads",
                  std::to_string(static_cast<unsigned>(*it)) + " stands twice; remove one");
    }
  }
  const bool has_mandatory =
      std::find(aeads.begin(), aeads.end(), crypto::AeadId::kAesSivCmac256) != aeads.end();
  if (!has_mandatory) {
    draft.error("nts_ke.aeads", "15 is missing, which RFC 8915 makes mandatory; add it");
  }
}

bool names_no_file(const std::vector<std::string>& paths) {
  return paths.empty() || std::ranges::count(paths, std::string()) != 0;
}

void check_certificates(Draft& draft) {
  const auto& certificates = draft.loaded.config.nts_ke.certificates;
  const auto& keys = draft.loaded.config.nts_ke.private_keys;
  if (names_no_file(certificates)) {
    draft.error("nts_ke.certificate",
                "no file; name the certificate chain, or set nts_ke.enabled to false");
  }
  if (names_no_file(keys)) {
    draft.error("nts_ke.private_key",
                "no file; name the certificate's key, or set nts_ke.enabled to false");
  }
  for (auto it = certificates.begin(); it != certificates.end(); ++it) {
    if (std::find(certificates.begin(), it, *it) != it) {
      draft.error("nts_ke.certificate",
                  quote_toml(*it) + " stands twice; remove one, and its private key");
    }
  }
  const bool refused = draft.refused("nts_ke.certificate") || draft.refused("nts_ke.private_key");
  if (refused || keys.empty() || keys.size() == certificates.size()) return;
  draft.error("nts_ke.private_key",
              "there are " + std::to_string(certificates.size()) + " certificates and " +
                  std::to_string(keys.size()) +
                  " private keys; name each certificate's key, in the same order");
}

void check_ntp_servers(Draft& draft) {
  const auto& servers = draft.loaded.config.nts_ke.servers;
  for (auto it = servers.begin(); it != servers.end(); ++it) {
    const auto same = [&](const nts::NtpServer& other) { return other.name == it->name; };
    if (std::find_if(servers.begin(), it, same) == it) continue;
    draft.error("nts_ke.server", it->name + " stands twice; write it once, with a weight");
  }
}

// Where clients find NTP when it is not here.
void check_nts_ke_alone(Draft& draft) {
  const Config& config = draft.loaded.config;
  if (!config.ntp.listen.empty()) return;
  if (config.keys.provider == KeysProvider::kFile && config.keys.file.empty()) {
    draft.error(
        "keys.file",
        "empty, and NTP is served elsewhere: nobody could open the cookies given here; name "
        "the file that the NTP server reads");
  }
  for (const bool v4 : {true, false}) {
    const auto asked = [&](const Endpoint& e) { return e.address.is_v4() == v4; };
    const auto named = [&](const nts::NtpServer& server) {
      const auto address = net::IpAddress::parse(server.name);
      return !address || address->is_v4() == v4;
    };
    if (std::ranges::none_of(config.nts_ke.listen, asked) ||
        std::ranges::any_of(config.nts_ke.servers, named)) {
      continue;
    }
    draft.warning("nts_ke.server", std::string("names no NTP server for ") +
                                       (v4 ? "IPv4" : "IPv6") +
                                       " clients, and ntp.listen is empty: they will go to the "
                                       "address they asked; make sure that another process answers "
                                       "there, or name a server");
  }
}

void check_nts_ke(Draft& draft) {
  const NtsKeConfig& nts_ke = draft.loaded.config.nts_ke;
  if (!nts_ke.enabled) return;
  check_nts_ke_listeners(draft);
  check_aeads(draft);
  check_certificates(draft);
  check_ntp_servers(draft);
  check_nts_ke_alone(draft);
  if (nts_ke.max_connections_per_address > nts_ke.max_connections) {
    draft.warning("nts_ke.max_connections_per_address",
                  "one address may take every connection; write less than max_connections (" +
                      std::to_string(nts_ke.max_connections) + ')');
  }
}

void check_crypto(Draft& draft) {
  if (crypto::available(draft.loaded.config.crypto.implementation)) return;
  std::string choices;
  for (const auto& [implementation, name] : crypto::implementations()) {
    if (!crypto::available(implementation)) continue;
    choices += (choices.empty() ? "" : ", ") + quote_toml(name);
  }
  draft.error("crypto.implementation", "this CPU lacks the instructions; write one of " + choices);
}

bool is_loopback(const net::IpAddress& address) {
  static const auto kV4 = *net::IpPrefix::parse("127.0.0.0/8");
  static const auto kV6 = *net::IpPrefix::parse("::1");
  return kV4.contains(address) || kV6.contains(address);
}

void check_etcd_access(Draft& draft) {
  const EtcdConfig& etcd = draft.loaded.config.etcd;
  if (etcd.certificate.empty() != etcd.private_key.empty()) {
    draft.error("etcd.certificate", "goes with etcd.private_key; name both, or neither");
  }
  if (etcd.user.empty() != etcd.password_file.empty()) {
    draft.error("etcd.user", "goes with etcd.password_file; name both, or neither");
  }
  if (!etcd.ca.empty()) return;
  if (!etcd.certificate.empty()) {
    draft.error("etcd.certificate", "is of no use without TLS; name etcd.ca, too");
  }
  for (const std::string& endpoint : etcd.endpoints) {
    const auto parsed = Endpoint::parse(endpoint);
    if (parsed && is_loopback(parsed->address)) continue;
    draft.warning("etcd.endpoints", endpoint +
                                        " is reached without TLS: whoever is on the way can "
                                        "make this server go on with old keys; name etcd.ca");
  }
}

// Members must hear of the next key before it becomes the current one.
constexpr std::chrono::seconds kShortestClusterRotation{5};

void check_etcd(Draft& draft) {
  const Config& config = draft.loaded.config;
  if (config.keys.provider != KeysProvider::kEtcd) {
    if (!config.etcd.endpoints.empty()) {
      draft.warning("etcd.endpoints", "not used; write keys.provider = \"etcd\", or remove it");
    }
    return;
  }
  if (config.etcd.endpoints.empty()) {
    draft.error("keys.provider", "\"etcd\" needs to know where; write etcd.endpoints");
  }
  if (config.etcd.key_file.empty()) {
    draft.error("keys.provider",
                "\"etcd\" needs the cluster's key: openssl rand -hex 32 >FILE, the same on all "
                "members, and name it in etcd.key_file");
  }
  if (config.keys.rotation < kShortestClusterRotation) {
    draft.error("keys.rotation", "is too short for a cluster; write \"5s\" or more");
  }
  check_etcd_access(draft);
}

void check_keys(Draft& draft) {
  const KeysConfig& keys = draft.loaded.config.keys;
  if (!keys.file.empty()) return;
  if (keys.provider == KeysProvider::kEtcd) {
    draft.warning("keys.file",
                  "empty: a start while etcd does not answer serves no NTS; name a file for a "
                  "sealed local copy");
    return;
  }
  draft.warning("keys.file",
                "empty: all clients must run NTS-KE again after each restart; name a file to keep "
                "the keys");
}

void check_access(Draft& draft) {
  const AccessConfig& access = draft.loaded.config.access;
  for (const net::IpPrefix& allow : access.allow) {
    for (const net::IpPrefix& deny : access.deny) {
      if (deny.bits > allow.bits || !deny.contains(allow.address)) continue;
      draft.warning("access.allow", allow.to_string() + " is wholly denied by " + deny.to_string() +
                                        ", and deny wins; remove one");
    }
  }
}

std::string refclock_path(std::size_t index) {
  return std::string(kRepeatedSection) + '[' + std::to_string(index) + ']';
}

// What stands in a section that its driver has no use for.
void check_belongings(Draft& draft, std::size_t index) {
  const Config& config = draft.loaded.config;
  for (const Setting& setting : settings_table()) {
    if (setting.section != kRepeatedSection || setting.applies(config, index)) continue;
    const std::string path = refclock_path(index) + '.' + setting.key;
    if (!draft.given(path)) continue;
    std::string drivers;
    for (const RefclockDriver driver : setting.drivers) {
      drivers += (drivers.empty() ? "" : " or ") + quote_toml(name_of(driver));
    }
    draft.error(path, "is for driver = " + drivers + "; remove it");
  }
}

std::size_t count_refclocks(const Config& config, RefclockDriver driver,
                            std::string_view pulse = {}) {
  return static_cast<std::size_t>(std::ranges::count_if(config.refclocks, [&](const auto& clock) {
    return clock.driver == driver && (pulse.empty() || clock.pulse == pulse);
  }));
}

// What a rack needs for time: somebody who names the seconds, and pulses; a rubidium, if any, with
// its own.
void check_rack(Draft& draft) {
  using enum RefclockDriver;
  const Config& config = draft.loaded.config;
  const std::size_t last = config.refclocks.size() - 1;
  const auto complain = [&](const char* what) { draft.error(refclock_path(last), what); };
  if (count_refclocks(config, kSystem) > 0) {
    if (last > 0) complain("driver = \"system\" stands alone; remove it or the others");
    if (config.clock.mode == ClockMode::kSystem) {
      draft.error(
          "clock.mode",
          "\"system\" steers the clock that driver = \"system\" takes for right; name other "
          "reference clocks, or write \"software\"");
    }
    return;
  }
  const std::size_t gnss = count_refclocks(config, kGnss);
  const std::size_t receivers = gnss + count_refclocks(config, kGpsd);
  const std::size_t samples = count_refclocks(config, kShm) + count_refclocks(config, kSock);
  const auto pulses = [&](std::string_view of) {
    return count_refclocks(config, kPps, of) + count_refclocks(config, kPhc, of);
  };
  const std::size_t oscillators = count_refclocks(config, kRubidium);
  if (receivers + samples == 0) {
    complain(
        "nothing names the seconds: add a receiver (driver = \"gnss\" or \"gpsd\"), or what "
        "another program tells (\"shm\" or \"sock\")");
  }
  if (receivers > 1) complain("one receiver can be used; remove the others");
  if (samples > 8) complain("eight of shm and sock can be used; remove some");
  if (gnss > 0 && pulses("gnss") == 0) {
    complain(
        "the receiver's pulse must come in at one driver = \"pps\" (or \"phc\") with pulse = "
        "\"gnss\"");
  }
  if (pulses("gnss") > 1 || pulses("rubidium") > 1) {
    complain("a pulse comes in once; remove the other pps or phc of the same pulse");
  }
  if (oscillators > 1) complain("one rubidium oscillator can be used; remove the others");
  if (oscillators == 1 && pulses("rubidium") == 0) {
    complain(
        "the oscillator's pulse must come in at one driver = \"pps\" (or \"phc\") with pulse "
        "= \"rubidium\"");
  }
  if (oscillators == 0 && pulses("rubidium") > 0) {
    complain("pulse = \"rubidium\" needs the oscillator too: driver = \"rubidium\"");
  }
}

// Messages and, on DCD, the pulse.
bool share_a_line(const RefclockConfig& a, const RefclockConfig& b) {
  if (!a.device.starts_with("/dev/tty")) return false;
  const auto is = [&](RefclockDriver one, RefclockDriver other) {
    return (a.driver == one && b.driver == other) || (a.driver == other && b.driver == one);
  };
  return is(RefclockDriver::kGnss, RefclockDriver::kPps) ||
         is(RefclockDriver::kRubidium, RefclockDriver::kPps);
}

void check_refclocks(Draft& draft) {
  if (draft.refused("refclock.driver")) return;
  const auto& refclocks = draft.loaded.config.refclocks;
  for (std::size_t i = 0; i < refclocks.size(); ++i) {
    check_belongings(draft, i);
    const RefclockConfig& clock = refclocks[i];
    const bool has_device = clock.driver != RefclockDriver::kSystem &&
                            clock.driver != RefclockDriver::kGpsd &&
                            clock.driver != RefclockDriver::kShm;
    if (has_device && clock.device.empty()) {
      draft.error(refclock_path(i), "name its device, such as device = \"/dev/ttyS0\"");
    }
    for (std::size_t j = 0; has_device && j < i; ++j) {
      if (refclocks[j].device != clock.device || clock.device.empty()) continue;
      if (share_a_line(clock, refclocks[j])) continue;
      draft.error(refclock_path(i), clock.device + " is used by " + refclock_path(j) + " already");
    }
    if (clock.driver == RefclockDriver::kShm) {
      for (std::size_t j = 0; j < i; ++j) {
        if (refclocks[j].driver == clock.driver && refclocks[j].unit == clock.unit) {
          draft.error(refclock_path(i), "unit " + std::to_string(clock.unit) + " is used by " +
                                            refclock_path(j) + " already");
        }
      }
    }
    if (clock.self_disciplined && (clock.model == "mro50" || clock.model == "fe5680a")) {
      draft.error(refclock_path(i),
                  "the " + clock.model + " has no loop of its own; write wiring = \"paper-clock\"");
    }
    if (clock.driver == RefclockDriver::kGpsd && clock.gpsd.empty()) {
      draft.error(refclock_path(i), "say where gpsd is, such as gpsd = \"127.0.0.1:2947\"");
    }
  }
  check_rack(draft);
}

void check_admin(Draft& draft) {
  const Config& config = draft.loaded.config;
  if (config.admin.listen.empty()) return;
  const Endpoint& admin = config.admin.listen.front();
  const AdminConfig& a = config.admin;
  if (!is_loopback(admin.address) && a.token_file.empty() && a.certificate.empty()) {
    draft.warning("admin.listen",
                  admin.to_string() +
                      " is not a loopback address: whoever reaches it reads the metrics, the "
                      "status and the configuration; set token_file and certificate, filter the "
                      "port, or write \"127.0.0.1:9123\"");
  }
  if (a.certificate.empty() != a.private_key.empty()) {
    draft.error(a.certificate.empty() ? "admin.certificate" : "admin.private_key",
                "is missing: HTTPS takes a certificate and its private key");
  }
  if (!config.nts_ke.enabled) return;
  for (const Endpoint& ke : config.nts_ke.listen) {
    if (ke == admin || clash(ke, admin)) {
      draft.error("admin.listen", admin.to_string() + " is taken by nts_ke.listen (" +
                                      ke.to_string() + "); choose another port");
    }
  }
}

}  // namespace

void check_combinations(Draft& draft) {
  check_ntp(draft);
  check_nts_ke(draft);
  check_crypto(draft);
  check_keys(draft);
  check_etcd(draft);
  check_access(draft);
  check_refclocks(draft);
  check_admin(draft);
}

}  // namespace timeball::server
