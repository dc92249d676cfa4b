#include "server/settings_table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iomanip>
#include <limits>
#include <locale>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>

#include "common/time/duration_text.h"

namespace timeball::server {
namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

using Problems = std::vector<Problem>;

template <class T>
const T* as(const TomlValue& value) {
  return std::get_if<T>(&value.data);
}

// ---- The types of settings. Each has: type(), range(), read() (nothing when the value is wrong;
// says why in problems), write().

void expected(std::string_view what, const TomlValue& found, Problems& problems) {
  problems.push_back({found.line, "found " + describe(found) + "; write " + std::string(what)});
}

struct Boolean {
  std::string type() const { return "boolean"; }
  std::string range() const { return ""; }
  std::optional<bool> read(const TomlValue& value, Problems& problems) const {
    if (const auto* truth = as<bool>(value)) return *truth;
    expected("true or false, without quotes", value, problems);
    return std::nullopt;
  }
  std::string write(bool truth) const { return truth ? "true" : "false"; }
};

template <class T>
struct Integer {
  T min;
  T max;

  std::string type() const { return "integer"; }
  std::string range() const { return std::to_string(min) + " to " + std::to_string(max); }
  std::optional<T> read(const TomlValue& value, Problems& problems) const {
    const auto* number = as<std::int64_t>(value);
    if (number != nullptr && *number >= min && *number <= max) return static_cast<T>(*number);
    expected("a whole number from " + range() + (number ? "" : ", without quotes"), value,
             problems);
    return std::nullopt;
  }
  std::string write(T number) const { return std::to_string(number); }
};

struct Period {
  nanoseconds min;
  nanoseconds max;

  std::string type() const { return "duration"; }
  std::string range() const { return write(min) + " to " + write(max); }
  std::optional<nanoseconds> read(const TomlValue& value, Problems& problems) const {
    const auto* text = as<std::string>(value);
    const auto duration = text ? parse_duration(*text) : std::nullopt;
    if (duration && *duration >= min && *duration <= max) return duration;
    expected("a whole number with its unit (d, h, m, s, ms, us, ns), in quotes, from " + range(),
             value, problems);
    return std::nullopt;
  }
  std::string write(nanoseconds duration) const { return '"' + print_duration(duration) + '"'; }
};

template <class T>
struct Choice {
  std::vector<std::pair<std::string_view, T>> names;

  std::string type() const { return "text"; }
  std::string range() const {
    std::string out;
    for (const auto& [name, unused] : names) {
      if (!out.empty()) out += ", ";
      out += quote_toml(name);
    }
    return out;
  }
  std::optional<T> read(const TomlValue& value, Problems& problems) const {
    if (const auto* text = as<std::string>(value)) {
      for (const auto& [name, choice] : names) {
        if (*text == name) return choice;
      }
    }
    expected((names.size() > 1 ? "one of " : "") + range(), value, problems);
    return std::nullopt;
  }
  std::string write(const T& chosen) const {
    for (const auto& [name, choice] : names) {
      if (choice == chosen) return quote_toml(name);
    }
    return "\"\"";
  }
};

struct Path {
  std::string type() const { return "file"; }
  std::string range() const { return ""; }
  std::optional<std::string> read(const TomlValue& value, Problems& problems) const {
    const auto* text = as<std::string>(value);
    const bool printable =
        text && std::all_of(text->begin(), text->end(), [](unsigned char c) { return c >= 0x20; });
    if (printable) return *text;
    expected("a file name in quotes, without control characters", value, problems);
    return std::nullopt;
  }
  std::string write(const std::string& path) const { return quote_toml(path); }
};

bool is_host_label(std::string_view label) {
  static constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
  return !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
         label.find_first_not_of(kLetters) == std::string_view::npos;
}

// A DNS name in A-label form whose last label is not a number (RFC 1123, section 2.1).
bool is_host_name(std::string_view name) {
  if (name.size() > 253) return false;
  for (std::string_view rest = name;;) {
    const std::size_t dot = rest.find('.');
    const std::string_view label = rest.substr(0, dot);
    if (!is_host_label(label)) return false;
    if (dot == std::string_view::npos) {
      return label.find_first_not_of("0123456789") != std::string_view::npos;
    }
    rest.remove_prefix(dot + 1);
  }
}

// What NTS-KE record 6 may hold (RFC 8915, section 4.1.7), and a weight.
struct NtpServerText {
  std::string type() const { return "host"; }
  std::string range() const {
    return "DNS name, IPv4 or IPv6 address, and its weight where it is not 1; or empty";
  }
  std::optional<nts::NtpServer> read(const TomlValue& value, Problems& problems) const {
    if (const auto* text = as<std::string>(value)) {
      const std::size_t space = text->find(' ');
      nts::NtpServer server{text->substr(0, space)};
      const bool weighted = space == text->npos || read_weight(text->substr(space), server.weight);
      if (weighted && (is_host_name(server.name) || net::IpAddress::parse(server.name))) {
        return server;
      }
    }
    expected(
        "a DNS name in ASCII (ntp1.example.net) or an IP address without a port, and behind it, "
        "where it is not 1, a weight up to " +
            std::to_string(nts::kMaxServerWeight),
        value, problems);
    return std::nullopt;
  }
  std::string write(const nts::NtpServer& server) const {
    return quote_toml(server.weight == 1 ? server.name
                                         : server.name + ' ' + std::to_string(server.weight));
  }

 private:
  static bool read_weight(std::string_view text, unsigned& weight) {
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    const auto [end, error] = std::from_chars(text.begin(), text.end(), weight);
    return error == std::errc() && end == text.end() && weight >= 1 &&
           weight <= nts::kMaxServerWeight;
  }
};

// Anything with T::parse and to_string(): an address or a prefix, as text.
template <class T>
struct Address {
  std::string_view name;     // "IP:PORT"
  std::string_view example;  // in quotes

  std::string type() const { return std::string(name); }
  std::string range() const { return ""; }
  std::optional<T> read(const TomlValue& value, Problems& problems) const {
    const auto* text = as<std::string>(value);
    if (text == nullptr) {
      expected("an address in quotes, such as " + std::string(example), value, problems);
      return std::nullopt;
    }
    const auto parsed = T::parse(*text);
    if (parsed) return *parsed;
    problems.push_back({value.line, parsed.error().message});
    return std::nullopt;
  }
  std::string write(const T& address) const { return quote_toml(address.to_string()); }
};

// One endpoint, or none, as text.
struct OptionalEndpoint {
  Address<net::Endpoint> endpoint;

  std::string type() const { return endpoint.type(); }
  std::string range() const { return "or empty"; }
  std::optional<std::vector<net::Endpoint>> read(const TomlValue& value, Problems& problems) const {
    const auto* text = as<std::string>(value);
    if (text != nullptr && text->empty()) return std::vector<net::Endpoint>{};
    const auto one = endpoint.read(value, problems);
    if (!one) return std::nullopt;
    return std::vector{*one};
  }
  std::string write(const std::vector<net::Endpoint>& value) const {
    return value.empty() ? "\"\"" : endpoint.write(value.front());
  }
};

// HOST:PORT; an IPv6 address in brackets.
struct HostPort {
  std::string type() const { return "HOST:PORT"; }
  std::string range() const { return ""; }
  std::optional<std::string> read(const TomlValue& value, Problems& problems) const {
    const auto* text = as<std::string>(value);
    if (text != nullptr && net::Endpoint::parse(*text)) return *text;
    const std::size_t colon = text != nullptr ? text->rfind(':') : std::string::npos;
    if (colon != std::string::npos && is_host_name(text->substr(0, colon)) &&
        net::Endpoint::parse("192.0.2.1" + text->substr(colon))) {
      return *text;
    }
    expected("a name or address and a port in quotes, such as \"etcd1.example.net:2379\"", value,
             problems);
    return std::nullopt;
  }
  std::string write(const std::string& text) const { return quote_toml(text); }
};

// A short word of some characters.
struct Word {
  std::string_view described;  // "1 to 64 of a-z"
  std::size_t min;
  bool (*allowed)(unsigned char);

  static constexpr std::size_t kMax = 64;

  std::string type() const { return "text"; }
  std::string range() const { return std::string(described); }
  std::optional<std::string> read(const TomlValue& value, Problems& problems) const {
    const auto* text = as<std::string>(value);
    if (text != nullptr && text->size() >= min && text->size() <= kMax &&
        std::ranges::all_of(*text, allowed)) {
      return *text;
    }
    expected("a name in quotes, " + range(), value, problems);
    return std::nullopt;
  }
  std::string write(const std::string& text) const { return quote_toml(text); }
};

constexpr Word kUserName{"up to 64 printable characters", 0,
                         [](unsigned char c) { return c > 0x20 && c < 0x7f; }};
constexpr Word kAccountName{"1 to 64 printable characters", 1, kUserName.allowed};
constexpr Word kInterfaceName{"1 to 15 characters, as ip link shows it", 1,
                              [](unsigned char c) { return c > 0x20 && c < 0x7f && c != '/'; }};
// Part of a path of etcd's, or a name of DNS.
constexpr Word kDottedName{"1 to 64 of a-z, 0-9, - and .", 1, [](unsigned char c) {
                             return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                                    c == '.';
                           }};

struct Aead {
  std::string type() const { return "AEAD number"; }
  std::string range() const {
    std::string out;
    for (const auto& row : crypto::aead_table()) {
      if (!out.empty()) out += ", ";
      out += std::to_string(static_cast<unsigned>(row.id));
    }
    return out;
  }
  std::optional<crypto::AeadId> read(const TomlValue& value, Problems& problems) const {
    const auto* number = as<std::int64_t>(value);
    if (number != nullptr && *number >= 0 && *number <= 0xffff) {
      if (const auto* row = crypto::find_aead(static_cast<std::uint16_t>(*number))) return row->id;
    }
    expected("AEAD algorithms by their IANA numbers: " + range(), value, problems);
    return std::nullopt;
  }
  std::string write(crypto::AeadId id) const { return std::to_string(static_cast<unsigned>(id)); }
};

template <class T, class Element>
struct List {
  Element element;

  std::string type() const { return "list of " + element.type(); }
  std::string range() const { return element.range(); }
  std::optional<std::vector<T>> read(const TomlValue& value, Problems& problems) const {
    const auto* array = as<TomlArray>(value);
    if (array == nullptr) {
      expected("a list, in square brackets", value, problems);
      return std::nullopt;
    }
    const std::size_t before = problems.size();
    std::vector<T> out;
    for (const TomlValue& item : *array) {
      if (const auto one = element.read(item, problems)) out.push_back(*one);
    }
    if (problems.size() > before) return std::nullopt;
    return out;
  }
  std::string write(const std::vector<T>& values) const {
    std::string out;
    for (const T& value : values) out += (out.empty() ? "" : ", ") + element.write(value);
    return '[' + out + ']';
  }
};

// A list that most often holds one: then the element alone will do, and its empty text for none.
template <class T, class Element>
struct OneOrMore {
  List<T, Element> list;

  std::string type() const { return list.element.type() + ", or a list"; }
  std::string range() const { return list.range(); }
  std::optional<std::vector<T>> read(const TomlValue& value, Problems& problems) const {
    if (as<TomlArray>(value) != nullptr) return list.read(value, problems);
    const auto* text = as<std::string>(value);
    if (text != nullptr && text->empty()) return std::vector<T>{};
    const auto one = list.element.read(value, problems);
    if (!one) return std::nullopt;
    return std::vector{*one};
  }
  std::string write(const std::vector<T>& values) const {
    if (values.empty()) return "\"\"";
    return values.size() == 1 ? list.element.write(values.front()) : list.write(values);
  }
};

// Where an antenna stands.
struct PositionText {
  std::string type() const { return "position"; }
  std::string range() const { return "LATITUDE LONGITUDE HEIGHT, or empty"; }
  std::optional<std::optional<Position>> read(const TomlValue& value, Problems& problems) const {
    const auto* text = as<std::string>(value);
    if (text != nullptr && text->empty()) return std::optional<Position>();
    if (text != nullptr) {
      Position p;
      std::istringstream in(*text);
      in.imbue(std::locale::classic());
      const bool read = static_cast<bool>(in >> p.latitude_deg >> p.longitude_deg >> p.height_m);
      if (read && (in >> std::ws).eof() && std::abs(p.latitude_deg) <= 90 &&
          std::abs(p.longitude_deg) <= 180 && p.height_m >= -1000 && p.height_m <= 20'000) {
        return p;
      }
    }
    expected(
        "degrees north, degrees east and metres above the ellipsoid in quotes, such as "
        "\"47.39770 8.54560 455.2\"",
        value, problems);
    return std::nullopt;
  }
  std::string write(const std::optional<Position>& p) const {
    if (!p) return "\"\"";
    std::ostringstream out;
    out.imbue(std::locale::classic());
    out << std::setprecision(10) << p->latitude_deg << ' ' << p->longitude_deg << ' '
        << p->height_m;
    return quote_toml(out.str());
  }
};

constexpr Address<net::Endpoint> kEndpoint{"IP:PORT", "\"192.0.2.1:123\" or \"[2001:db8::1]:123\""};
constexpr Address<net::IpPrefix> kPrefix{"prefix", "\"192.0.2.0/24\" or \"2001:db8::/32\""};
using Endpoints = List<net::Endpoint, Address<net::Endpoint>>;
using Prefixes = List<net::IpPrefix, Address<net::IpPrefix>>;
using Aeads = List<crypto::AeadId, Aead>;
using Paths = OneOrMore<std::string, Path>;
using NtpServers = OneOrMore<nts::NtpServer, NtpServerText>;

// ---- Rows.

template <class S>
S& section_of(Config& config, S Config::*section, std::size_t) {
  return config.*section;
}
template <class S>
S& section_of(Config& config, std::vector<S> Config::*section, std::size_t index) {
  return (config.*section)[index];
}

struct RowText {
  std::string_view path;  // "section.key"
  std::string_view default_toml;
  std::string_view unit;
  Reload reload;
  std::string_view help;
  std::vector<RefclockDriver> drivers = {};
};

template <class Where, class S, class T, class Type>
Setting row(Where Config::*section, T S::*member, Type type, const RowText& text) {
  const std::size_t dot = text.path.find('.');
  Setting setting;
  setting.section = text.path.substr(0, dot);
  setting.key = text.path.substr(dot + 1);
  setting.type = type.type();
  setting.range = type.range();
  setting.default_toml = text.default_toml;
  setting.unit = text.unit;
  setting.reload = text.reload;
  setting.help = text.help;
  setting.drivers = text.drivers;
  setting.read = [=](const TomlValue& value, Config& config, std::size_t index) {
    Problems problems;
    if (auto read = type.read(value, problems)) {
      section_of(config, section, index).*member = std::move(*read);
    }
    return problems;
  };
  setting.write = [=](const Config& config, std::size_t index) {
    return type.write(section_of(const_cast<Config&>(config), section, index).*member);
  };
  return setting;
}

constexpr Reload kRestart = Reload::kRestart;
constexpr Reload kReload = Reload::kReload;

void add_ntp(std::vector<Setting>& rows) {
  constexpr auto kAt = &Config::ntp;
  rows.push_back(row(kAt, &NtpConfig::listen, Endpoints{kEndpoint},
                     {"ntp.listen", R"(["0.0.0.0:123", "[::]:123"])", "", kRestart,
                      "UDP addresses on which NTP is answered; none: NTS-KE only"}));
  rows.push_back(
      row(kAt, &NtpConfig::shards, Integer<unsigned>{0, 1024},
          {"ntp.shards", "0", "threads", kRestart, "serving threads; 0: one for each usable CPU"}));
  rows.push_back(row(kAt, &NtpConfig::io,
                     Choice<net::IoBackend>{{{"auto", net::IoBackend::kAuto},
                                             {"io_uring", net::IoBackend::kIoUring},
                                             {"mmsg", net::IoBackend::kMmsg},
                                             {"xdp", net::IoBackend::kXdp}}},
                     {"ntp.io", R"("auto")", "", kRestart,
                      "how datagrams reach the kernel; xdp: past it, by AF_XDP, on xdp_interfaces, "
                      "and by sockets for what AF_XDP leaves to the kernel"}));
  rows.push_back(row(kAt, &NtpConfig::xdp_interfaces, List<std::string, Word>{kInterfaceName},
                     {"ntp.xdp_interfaces", "[]", "", kRestart,
                      "network interfaces that are served by AF_XDP with io = \"xdp\""}));
  rows.push_back(row(kAt, &NtpConfig::xdp_mode,
                     Choice<net::XdpMode>{{{"auto", net::XdpMode::kAuto},
                                           {"native", net::XdpMode::kNative},
                                           {"generic", net::XdpMode::kGeneric}}},
                     {"ntp.xdp_mode", R"("auto")", "", kRestart,
                      "where the XDP program runs: native, in the network card's driver; generic, "
                      "in the kernel, for any card and less gain; auto: native where the driver "
                      "has it"}));
  rows.push_back(row(
      kAt, &NtpConfig::steering,
      Choice<Steering>{{{"flow", Steering::kFlow}, {"cpu", Steering::kCpu}}},
      {"ntp.steering", R"("flow")", "", kRestart,
       "which shard gets a request; flow: by its addresses and ports; cpu: the shard on the CPU "
       "that it came in on, for network cards that spread flows over all CPUs"}));
  rows.push_back(
      row(kAt, &NtpConfig::realtime_priority, Integer<unsigned>{0, 99},
          {"ntp.realtime_priority", "0", "", kRestart,
           "SCHED_FIFO priority of the serving threads, so that nothing else on their "
           "CPUs delays NTP (takes root at the start, or LimitRTPRIO); 0: normal scheduling"}));
  rows.push_back(row(kAt, &NtpConfig::symmetric_active, Boolean{},
                     {"ntp.symmetric_active", "false", "", kRestart,
                      "also answer mode 1 (symmetric active), statelessly"}));
  rows.push_back(
      row(kAt, &NtpConfig::require_nts, Boolean{},
          {"ntp.require_nts", "false", "", kRestart, "leave requests without NTS unanswered"}));
}

void add_nts_ke_identity(std::vector<Setting>& rows) {
  constexpr auto kAt = &Config::nts_ke;
  rows.push_back(row(
      kAt, &NtsKeConfig::enabled, Boolean{},
      {"nts_ke.enabled", "true", "", kRestart, "offer NTS key establishment; false: NTP only"}));
  rows.push_back(row(kAt, &NtsKeConfig::listen, Endpoints{kEndpoint},
                     {"nts_ke.listen", R"(["0.0.0.0:4460", "[::]:4460"])", "", kRestart,
                      "TCP addresses on which NTS-KE is answered"}));
  rows.push_back(row(kAt, &NtsKeConfig::certificates, Paths{},
                     {"nts_ke.certificate", R"("/etc/timeball/chain.pem")", "", kReload,
                      "certificate chain in PEM, the server's own certificate first; of several, "
                      "clients get the one for the name that they ask for and the signatures that "
                      "they know, and for other names the first"}));
  rows.push_back(row(kAt, &NtsKeConfig::private_keys, Paths{},
                     {"nts_ke.private_key", R"("/etc/timeball/key.pem")", "", kReload,
                      "the certificate's private key in PEM, not encrypted, mode 0600; of several, "
                      "each in the place of its certificate"}));
  rows.push_back(row(
      kAt, &NtsKeConfig::threads, Integer<unsigned>{0, 1024},
      {"nts_ke.threads", "0", "threads", kRestart, "NTS-KE threads; 0: one for each usable CPU"}));
  rows.push_back(row(kAt, &NtsKeConfig::nice, Integer<unsigned>{0, 19},
                     {"nts_ke.nice", "10", "", kRestart,
                      "niceness of the NTS-KE threads: a flood of handshakes gives way to NTP; a "
                      "flood of NTP leaves them a tenth of the CPU at 10, a third at 3"}));
}

void add_nts_ke_protocol(std::vector<Setting>& rows) {
  constexpr auto kAt = &Config::nts_ke;
  rows.push_back(row(kAt, &NtsKeConfig::aeads, Aeads{},
                     {"nts_ke.aeads", "[30, 15, 17, 16]", "", kRestart,
                      "AEAD algorithms offered, in order of preference"}));
  rows.push_back(row(kAt, &NtsKeConfig::gcm_siv_without_record_1024, Boolean{},
                     {"nts_ke.gcm_siv_without_record_1024", "false", "", kRestart,
                      "choose AEAD 30 also for clients that do not send record 1024 (chrony 4.4 to "
                      "4.6), with the key exporter context they expect"}));
  rows.push_back(
      row(kAt, &NtsKeConfig::servers, NtpServers{},
          {"nts_ke.server", R"("")", "", kRestart,
           "NTP server named to clients (record 6); of several, one at random, by weight "
           "(\"ntp2.example.net 3\" gets thrice the clients), or the one that the client "
           "wishes for; all must share the master keys; empty: the host they asked"}));
  rows.push_back(row(kAt, &NtsKeConfig::port, Integer<std::uint16_t>{0, 65535},
                     {"nts_ke.port", "0", "UDP port", kRestart,
                      "NTP port named to clients (record 7); 0: named only when it is not 123"}));
  rows.push_back(
      row(kAt, &NtsKeConfig::deadline, Period{100ms, 60s},
          {"nts_ke.deadline", R"("5s")", "", kRestart, "how long one client may take in all"}));
  rows.push_back(row(kAt, &NtsKeConfig::max_connections, Integer<unsigned>{1, 1'000'000},
                     {"nts_ke.max_connections", "4096", "connections", kRestart,
                      "NTS-KE connections open at once; then one that has taken a fifth of the "
                      "deadline gives way to a newcomer"}));
  rows.push_back(row(kAt, &NtsKeConfig::max_connections_per_address,
                     Integer<unsigned>{1, 1'000'000},
                     {"nts_ke.max_connections_per_address", "64", "connections", kRestart,
                      "NTS-KE connections open at once from one address"}));
  rows.push_back(row(kAt, &NtsKeConfig::ipv4_prefix, Integer<unsigned>{1, 32},
                     {"nts_ke.ipv4_prefix", "32", "bits", kRestart,
                      "IPv4 clients that share this many bits count as one address"}));
  rows.push_back(row(kAt, &NtsKeConfig::ipv6_prefix, Integer<unsigned>{1, 128},
                     {"nts_ke.ipv6_prefix", "56", "bits", kRestart,
                      "IPv6 clients that share this many bits count as one address"}));
}

void add_nts_ke_rates(std::vector<Setting>& rows) {
  constexpr auto kAt = &Config::nts_ke;
  constexpr Integer<unsigned> kRate{0, 1'000'000};
  constexpr Integer<unsigned> kBurst{1, 1'000'000};
  rows.push_back(
      row(kAt, &NtsKeConfig::rate, kRate,
          {"nts_ke.rate", "0", "connections per second", kRestart,
           "NTS-KE connections begun in all, on average; 0: as many as the CPUs can do"}));
  rows.push_back(row(kAt, &NtsKeConfig::burst, kBurst,
                     {"nts_ke.burst", "1000", "connections", kRestart,
                      "how many may begin at once after a quiet time, where rate is a limit"}));
  rows.push_back(row(kAt, &NtsKeConfig::rate_per_address, kRate,
                     {"nts_ke.rate_per_address", "20", "connections per second", kRestart,
                      "NTS-KE connections begun from one address, on average, while the server is "
                      "busy; 0: no limit"}));
  rows.push_back(row(kAt, &NtsKeConfig::burst_per_address, kBurst,
                     {"nts_ke.burst_per_address", "1000", "connections", kRestart,
                      "how many may begin at once from an address after a quiet time"}));
  rows.push_back(row(kAt, &NtsKeConfig::busy_after, Period{0s, 60s},
                     {"nts_ke.busy_after", R"("250ms")", "", kRestart,
                      "the server is busy, and rate_per_address in force, for a connection that "
                      "has waited for so long to be accepted; 0s: always"}));
}

Choice<crypto::Implementation> implementation_choice() {
  Choice<crypto::Implementation> choice;
  for (const auto& [implementation, name] : crypto::implementations()) {
    choice.names.emplace_back(name, implementation);
  }
  return choice;
}

void add_etcd(std::vector<Setting>& rows) {
  constexpr auto kAt = &Config::etcd;
  rows.push_back(row(kAt, &EtcdConfig::endpoints, List<std::string, HostPort>{},
                     {"etcd.endpoints", "[]", "", kRestart,
                      "client addresses of the etcd cluster; all of its members"}));
  rows.push_back(row(kAt, &EtcdConfig::cluster, kDottedName,
                     {"etcd.cluster", R"("default")", "", kRestart,
                      "the servers that share keys; etcd's paths begin with /timeball/NAME/"}));
  rows.push_back(
      row(kAt, &EtcdConfig::key_file, Path{},
          {"etcd.key_file", R"("")", "", kRestart,
           "cluster keys (mode 0600), under which the master keys lie sealed in etcd, or "
           "\"credential:NAME\" of systemd"}));
  rows.push_back(
      row(kAt, &EtcdConfig::ca, Path{},
          {"etcd.ca", R"("")", "", kRestart,
           "PEM certificates that etcd's own must be signed by; empty: no TLS, for loopback"}));
  rows.push_back(row(kAt, &EtcdConfig::certificate, Path{},
                     {"etcd.certificate", R"("")", "", kRestart,
                      "PEM chain by which this server shows etcd who it is; empty: none"}));
  rows.push_back(row(kAt, &EtcdConfig::private_key, Path{},
                     {"etcd.private_key", R"("")", "", kRestart, "PEM key of that certificate"}));
  rows.push_back(
      row(kAt, &EtcdConfig::user, kUserName,
          {"etcd.user", R"("")", "", kRestart, "etcd's user name for this server; empty: none"}));
  rows.push_back(row(kAt, &EtcdConfig::password_file, Path{},
                     {"etcd.password_file", R"("")", "", kRestart,
                      "a file with the user's password (mode 0600), or \"credential:NAME\""}));
}

void add_keys_and_access(std::vector<Setting>& rows) {
  rows.push_back(row(&Config::crypto, &CryptoConfig::implementation, implementation_choice(),
                     {"crypto.implementation", R"("auto")", "", kRestart,
                      "how AEAD is computed; auto: the fastest that this CPU has"}));
  rows.push_back(
      row(&Config::keys, &KeysConfig::provider,
          Choice<KeysProvider>{{{"file", KeysProvider::kFile}, {"etcd", KeysProvider::kEtcd}}},
          {"keys.provider", R"("file")", "", kRestart,
           "where the master keys come from: a file of this server's own, or [etcd], where many "
           "servers share them"}));
  rows.push_back(row(&Config::keys, &KeysConfig::file, Path{},
                     {"keys.file", R"("/var/lib/timeball/master-keys")", "", kRestart,
                      "where the master keys are kept (mode 0600), or the sealed local copy of a "
                      "cluster's; empty: in memory only, so that cookies die with the daemon"}));
  rows.push_back(
      row(&Config::keys, &KeysConfig::rotation, Period{1s, 24h * 365},
          {"keys.rotation", R"("24h")", "", kRestart, "how often the master key changes"}));
  rows.push_back(row(
      &Config::keys, &KeysConfig::keep, Integer<unsigned>{1, 1000},
      {"keys.keep", "7", "generations", kRestart, "older master keys whose cookies still work"}));
  add_etcd(rows);
  rows.push_back(row(&Config::access, &AccessConfig::allow, Prefixes{kPrefix},
                     {"access.allow", "[]", "", kReload, "clients answered; empty: everybody"}));
  rows.push_back(row(&Config::access, &AccessConfig::deny, Prefixes{kPrefix},
                     {"access.deny", "[]", "", kReload, "clients not answered; wins over allow"}));
}

void add_rate_limit(std::vector<Setting>& rows) {
  constexpr auto kAt = &Config::rate_limit;
  rows.push_back(
      row(kAt, &RateLimitConfig::enabled, Boolean{},
          {"rate_limit.enabled", "false", "", kRestart, "limit how often one prefix is answered"}));
  rows.push_back(row(kAt, &RateLimitConfig::interval, Period{1us, 1h},
                     {"rate_limit.interval", R"("1s")", "", kRestart,
                      "one request each, per prefix, on average"}));
  rows.push_back(row(
      kAt, &RateLimitConfig::burst, Integer<unsigned>{1, 1'000'000},
      {"rate_limit.burst", "8", "requests", kRestart, "requests a quiet prefix may send at once"}));
  rows.push_back(row(kAt, &RateLimitConfig::action,
                     Choice<RateAction>{{{"drop", RateAction::kDrop}, {"kiss", RateAction::kKiss}}},
                     {"rate_limit.action", R"("drop")", "", kRestart,
                      "over the limit: drop, or answer with kiss code RATE; requests with NTS are "
                      "always dropped"}));
  rows.push_back(row(kAt, &RateLimitConfig::let_through, Integer<unsigned>{0, 1'000'000},
                     {"rate_limit.let_through", "4", "requests", kRestart,
                      "one in this many over the limit is served, so that forged requests cannot "
                      "silence a client; 0: none"}));
  rows.push_back(row(kAt, &RateLimitConfig::ipv4_prefix, Integer<unsigned>{1, 32},
                     {"rate_limit.ipv4_prefix", "32", "bits", kRestart,
                      "IPv4 clients that share this many bits share a limit"}));
  rows.push_back(row(kAt, &RateLimitConfig::ipv6_prefix, Integer<unsigned>{1, 128},
                     {"rate_limit.ipv6_prefix", "64", "bits", kRestart,
                      "IPv6 clients that share this many bits share a limit"}));
  rows.push_back(row(kAt, &RateLimitConfig::table_size, Integer<unsigned>{64, 1u << 24},
                     {"rate_limit.table_size", "65536", "prefixes", kRestart,
                      "prefixes remembered by each shard"}));
  rows.push_back(row(kAt, &RateLimitConfig::refusals_per_second, Integer<unsigned>{1, 1'000'000},
                     {"rate_limit.refusals_per_second", "1000", "replies per second", kRestart,
                      "NTS NAKs and kisses sent by each shard at most; in force also when "
                      "enabled = false"}));
}

const std::vector<std::pair<std::string_view, RefclockDriver>> kDrivers = {
    {"system", RefclockDriver::kSystem}, {"gnss", RefclockDriver::kGnss},
    {"gpsd", RefclockDriver::kGpsd},     {"pps", RefclockDriver::kPps},
    {"phc", RefclockDriver::kPhc},       {"rubidium", RefclockDriver::kRubidium},
    {"shm", RefclockDriver::kShm},       {"sock", RefclockDriver::kSock}};

template <class T, class Type>
Setting refclock_row(T RefclockConfig::*member, Type type, std::string_view path,
                     std::string_view standard, std::string_view unit, std::string_view help,
                     std::vector<RefclockDriver> drivers) {
  return row(&Config::refclocks, member, type,
             {path, standard, unit, Reload::kRestart, help, std::move(drivers)});
}

using enum RefclockDriver;

void add_refclock(std::vector<Setting>& rows) {
  rows.push_back(refclock_row(
      &RefclockConfig::driver, Choice<RefclockDriver>{kDrivers}, "refclock.driver", R"("system")",
      "",
      "where time comes from. system: the kernel's clock, alone. Or a rack: a receiver (gnss on a "
      "serial line, or gpsd), its pulse (pps or phc), a rubidium with its own pulse; and what "
      "other "
      "programs tell (shm, sock)",
      {}));
  rows.push_back(refclock_row(&RefclockConfig::trust, Boolean{}, "refclock.trust", "false", "",
                              "serve the kernel's clock even when it says it is not synchronised",
                              {kSystem}));
  rows.push_back(refclock_row(&RefclockConfig::stratum, Integer<unsigned>{1, 15},
                              "refclock.stratum", "10", "",
                              "stratum served; the kernel does not tell its own", {kSystem}));
  rows.push_back(refclock_row(
      &RefclockConfig::error_bound, Period{1us, 1h}, "refclock.error_bound", R"("10ms")", "",
      "how wrong that time may be, as you assert: of an unsynchronised kernel clock with trust = "
      "true, or of each sample of another program; in the root dispersion that is served",
      {kSystem, kShm, kSock}));
  rows.push_back(refclock_row(
      &RefclockConfig::device, Path{}, "refclock.device", R"("")", "",
      "the serial line (/dev/ttyS0); the pulse's /dev/pps0, or the serial line whose DCD carries "
      "it; the PTP clock (/dev/ptp0); of sock, the socket that is made",
      {kGnss, kPps, kPhc, kRubidium, kSock}));
  rows.push_back(refclock_row(
      &RefclockConfig::baud, Integer<unsigned>{0, 4'000'000}, "refclock.baud", "0", "Bd",
      "of the serial line; 0: found by trying, as usual for the device", {kGnss, kRubidium}));
  rows.push_back(refclock_row(
      &RefclockConfig::gpsd, OptionalEndpoint{kEndpoint}, "refclock.gpsd", R"("127.0.0.1:2947")",
      "", "where gpsd is; without a pulse of ours, gpsd's stamps of it are taken", {kGpsd}));
  rows.push_back(refclock_row(&RefclockConfig::model,
                              Choice<std::string>{{{"prs10", "prs10"},
                                                   {"sa5x", "sa5x"},
                                                   {"sa22c", "sa22c"},
                                                   {"spectratime", "spectratime"},
                                                   {"mro50", "mro50"},
                                                   {"fe5680a", "fe5680a"}}},
                              "refclock.model", R"("prs10")", "", "of the oscillator",
                              {kRubidium}));
  rows.push_back(refclock_row(
      &RefclockConfig::self_disciplined,
      Choice<bool>{{{"paper-clock", false}, {"self-disciplined", true}}}, "refclock.wiring",
      R"("paper-clock")", "",
      "paper-clock: the oscillator runs free and is corrected in numbers, which keeps the smallest "
      "bound through an outage; self-disciplined: its own loop follows the receiver's pulse at its "
      "1PPS input",
      {kRubidium}));
  rows.push_back(refclock_row(&RefclockConfig::unit, Integer<unsigned>{0, 255}, "refclock.unit",
                              "0", "", "of NTP's shared memory", {kShm}));
}

void add_receiver(std::vector<Setting>& rows) {
  rows.push_back(refclock_row(&RefclockConfig::configure, Boolean{}, "refclock.configure", "true",
                              "", "set a u-blox receiver up, in its RAM; false: take what it sends",
                              {kGnss}));
  rows.push_back(refclock_row(
      &RefclockConfig::position, PositionText{}, "refclock.position", R"("")", "",
      "where the antenna stands: fixed, and watched; empty: the receiver surveys it", {kGnss}));
  rows.push_back(refclock_row(
      &RefclockConfig::cable_delay, Period{0ns, 30us}, "refclock.cable_delay", R"("0ns")", "",
      "of the antenna's cable, some 5 ns a metre; the receiver corrects it", {kGnss}));
  rows.push_back(refclock_row(
      &RefclockConfig::settling, Period{0s, 1h}, "refclock.settling", R"("750s")", "",
      "a receiver of NMEA only does not say whether it knows UTC: it is believed after a fix for "
      "so long, in which the satellites have told it",
      {kGnss}));
}

void add_pulse(std::vector<Setting>& rows) {
  rows.push_back(refclock_row(
      &RefclockConfig::pulse, Choice<std::string>{{{"gnss", "gnss"}, {"rubidium", "rubidium"}}},
      "refclock.pulse", R"("gnss")", "", "whose pulse comes in there", {kPps, kPhc}));
  rows.push_back(refclock_row(&RefclockConfig::clear_edge,
                              Choice<bool>{{{"assert", false}, {"clear", true}}}, "refclock.edge",
                              R"("assert")", "", "with which the pulse begins", {kPps, kPhc}));
  rows.push_back(refclock_row(
      &RefclockConfig::latency, Period{1us, 1ms}, "refclock.latency", R"("20us")", "",
      "how late the kernel stamps an edge at most: interrupt latency; part of the error bound",
      {kPps}));
  rows.push_back(refclock_row(&RefclockConfig::channel, Integer<unsigned>{0, 63},
                              "refclock.channel", "0", "", "of the PTP clock's time stamps",
                              {kPhc}));
  rows.push_back(refclock_row(&RefclockConfig::pin, Integer<int>{-1, 63}, "refclock.pin", "-1", "",
                              "that the channel is to be at; -1: the PTP clock has no pins to set",
                              {kPhc}));
}

void add_clock(std::vector<Setting>& rows) {
  constexpr auto kAt = &Config::clock;
  rows.push_back(
      row(kAt, &ClockConfig::mode,
          Choice<ClockMode>{{{"software", ClockMode::kSoftware}, {"system", ClockMode::kSystem}}},
          {"clock.mode", R"("software")", "", kRestart,
           "software: the kernel's clock is left alone; what is served is right all the same. "
           "system: it is stepped once and then slewed, so that it is right for the other programs "
           "on this machine (takes CAP_SYS_TIME, and no other time client)"}));
  rows.push_back(row(kAt, &ClockConfig::helper, Path{},
                     {"clock.helper", R"("")", "", kRestart,
                      "with mode = \"system\", the socket of timeballd-clock.socket "
                      "(/run/timeballd-clock), whose service sets the clock; empty: a child "
                      "process does, and timeballd must be started with CAP_SYS_TIME"}));
  rows.push_back(row(kAt, &ClockConfig::locked_bound, Period{0us, 1s},
                     {"clock.locked_bound", R"("0s")", "", kRestart,
                      "LOCKED below this error bound; 0s: what the reference clocks allow"}));
  rows.push_back(row(kAt, &ClockConfig::holdover_limit, Period{1us, 1s},
                     {"clock.holdover_limit", R"("100us")", "", kRestart,
                      "without GNSS, time is served until its error bound exceeds this"}));
  rows.push_back(row(kAt, &ClockConfig::reference_id,
                     Choice<std::string>{{{"GPS", "GPS"}, {"GAL", "GAL"}, {"PPS", "PPS"}}},
                     {"clock.reference_id", R"("GPS")", "", kRestart,
                      "reference ID of a stratum 1 server (RFC 5905, figure 12)"}));
  rows.push_back(row(kAt, &ClockConfig::leap_file, Path{},
                     {"clock.leap_file", R"("/usr/share/zoneinfo/leap-seconds.list")", "", kRestart,
                      "leap seconds (leap-seconds.list); empty: what the receiver says only"}));
}

void add_process(std::vector<Setting>& rows) {
  constexpr auto kAt = &Config::process;
  rows.push_back(row(
      kAt, &ProcessConfig::user, kAccountName,
      {"process.user", R"("timeball")", "", kRestart,
       "whom the daemon becomes when root starts it, with no rights beyond that user's; the "
       "user must be able to read the configuration and the files that it names; root: it stays "
       "root, without root's capabilities"}));
  rows.push_back(row(kAt, &ProcessConfig::group, kUserName,
                     {"process.group", R"("")", "", kRestart, "its group; empty: the user's own"}));
  rows.push_back(
      row(kAt, &ProcessConfig::sandbox,
          Choice<SandboxMode>{
              {{"on", SandboxMode::kOn}, {"log", SandboxMode::kLog}, {"off", SandboxMode::kOff}}},
          {"process.sandbox", R"("on")", "", kRestart,
           "what the daemon may ask of the kernel once it serves (seccomp, Landlock). on: else it "
           "ends; "
           "log: system calls it should not make are allowed, and are in the kernel's audit log"}));
}

void add_rest(std::vector<Setting>& rows) {
  rows.push_back(row(&Config::admin, &AdminConfig::socket, Path{},
                     {"admin.socket", R"("/run/timeball/control")", "", kRestart,
                      "Unix socket for timeball status, keys, reload and readmit; empty: off"}));
  rows.push_back(row(&Config::admin, &AdminConfig::listen, OptionalEndpoint{kEndpoint},
                     {"admin.listen", R"("127.0.0.1:9123")", "", kRestart,
                      "TCP address of the panel, /metrics, /healthz, /readyz and /api/v1 (HTTP); "
                      "empty: off"}));
  rows.push_back(row(&Config::admin, &AdminConfig::ready_bound, Period{1us, 16s},
                     {"admin.ready_bound", R"("100ms")", "", kReload,
                      "/readyz says ready while the error bound is at most this"}));
  rows.push_back(
      row(&Config::admin, &AdminConfig::token_file, Path{},
          {"admin.token_file", R"("")", "", kRestart,
           "a file (mode 0600) with the token that opens all but /healthz and /readyz, or "
           "\"credential:NAME\"; empty: open"}));
  rows.push_back(row(&Config::admin, &AdminConfig::certificate, Path{},
                     {"admin.certificate", R"("")", "", kRestart,
                      "PEM file, the certificate chain of the admin listener, leaf first (HTTPS); "
                      "its renewals are taken up; empty: no TLS"}));
  rows.push_back(row(&Config::admin, &AdminConfig::private_key, Path{},
                     {"admin.private_key", R"("")", "", kRestart,
                      "PEM file, the key of certificate, unencrypted"}));
  rows.push_back(row(&Config::admin, &AdminConfig::names, List<std::string, Word>{kDottedName},
                     {"admin.names", "[]", "", kRestart,
                      "without token_file and certificate it is asked for by an address, "
                      "localhost, this machine's name, or by one of these; else 421"}));
  rows.push_back(row(&Config::admin, &AdminConfig::clients, Integer<unsigned>{0, 1000},
                     {"admin.clients", "0", "", kRestart,
                      "so many of the busiest clients are told (/api/v1/clients); 0: none, and no "
                      "address is kept"}));
  rows.push_back(row(&Config::log, &LogConfig::level,
                     Choice<std::string>{{{"trace", "trace"},
                                          {"debug", "debug"},
                                          {"info", "info"},
                                          {"warning", "warning"},
                                          {"error", "error"},
                                          {"critical", "critical"},
                                          {"off", "off"}}},
                     {"log.level", R"("info")", "", kReload, "the least that is logged"}));
  rows.push_back(row(&Config::log, &LogConfig::format,
                     Choice<LogFormat>{{{"text", LogFormat::kText}, {"json", LogFormat::kJson}}},
                     {"log.format", R"("text")", "", kRestart,
                      "text, or one JSON object a line; on standard error"}));
}

}  // namespace

const std::vector<Setting>& settings_table() {
  static const std::vector<Setting> kRows = [] {
    std::vector<Setting> rows;
    add_ntp(rows);
    add_nts_ke_identity(rows);
    add_nts_ke_protocol(rows);
    add_nts_ke_rates(rows);
    add_keys_and_access(rows);
    add_rate_limit(rows);
    add_refclock(rows);
    add_receiver(rows);
    add_pulse(rows);
    add_clock(rows);
    add_process(rows);
    add_rest(rows);
    return rows;
  }();
  return kRows;
}

const std::vector<std::string>& settings_sections() {
  static const std::vector<std::string> kSections = [] {
    std::vector<std::string> names;
    for (const Setting& setting : settings_table()) {
      if (names.empty() || names.back() != setting.section) names.push_back(setting.section);
    }
    return names;
  }();
  return kSections;
}

std::string_view name_of(RefclockDriver driver) {
  return std::ranges::find(kDrivers, driver, &decltype(kDrivers)::value_type::second)->first;
}

bool Setting::applies(const Config& config, std::size_t index) const {
  return drivers.empty() || std::ranges::count(drivers, config.refclocks.at(index).driver) != 0;
}

}  // namespace timeball::server
