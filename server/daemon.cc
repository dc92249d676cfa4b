#include "server/daemon.h"

#include <spdlog/spdlog.h>
#include <sys/timex.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json/serialize.hpp>
#include <csignal>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "common/base/cpus.h"
#include "common/base/published.h"
#include "common/base/secret_memory.h"
#include "common/crypto/entropy.h"
#include "common/ntp/packet.h"
#include "common/nts/ke_negotiation.h"
#include "common/time/duration_text.h"
#include "refclock/refclock.h"
#include "server/access_policy.h"
#include "server/admin_http.h"
#include "server/admin_socket.h"
#include "server/certificate_store.h"
#include "server/clocks.h"
#include "server/etcd_key_provider.h"
#include "server/host_name.h"
#include "server/ke_service.h"
#include "server/master_key_store.h"
#include "server/monitor.h"
#include "server/notify.h"
#include "server/refclock_options.h"
#include "server/sandbox.h"
#include "server/settings.h"
#include "server/shard.h"
#include "server/status.h"

namespace timeball::server {
namespace {

namespace asio = boost::asio;

constexpr auto kTick = std::chrono::seconds(1);

std::string list(const std::vector<net::Endpoint>& endpoints) {
  std::string text;
  for (const net::Endpoint& e : endpoints) text += (text.empty() ? "" : ", ") + e.to_string();
  return text;
}

nts::KePolicy ke_policy(const Config& config) {
  nts::KePolicy policy;
  policy.aeads = config.nts_ke.aeads;
  policy.gcm_siv_without_record_1024 = config.nts_ke.gcm_siv_without_record_1024;
  policy.servers = config.nts_ke.servers;
  policy.port = config.nts_ke.port;
  // Clients that are told nothing go to port 123 (RFC 8915, section 4.1.8).
  if (policy.port == 0 && !config.ntp.listen.empty()) {
    const std::uint16_t port = config.ntp.listen.front().port;
    if (port != ntp::kPort) policy.port = port;
  }
  return policy;
}

std::vector<CertificateFiles> certificate_files(const Config& config) {
  std::vector<CertificateFiles> files;
  for (std::size_t i = 0; i < config.nts_ke.certificates.size(); ++i) {
    files.push_back({config.nts_ke.certificates[i], config.nts_ke.private_keys.at(i)});
  }
  return files;
}

RateLimits rate_limits(const RateLimitConfig& config) {
  RateLimits limits;
  limits.enabled = config.enabled;
  limits.interval = config.interval;
  limits.burst = config.burst;
  limits.kiss = config.action == RateAction::kKiss;
  limits.let_through = config.let_through;
  limits.ipv4_prefix = config.ipv4_prefix;
  limits.ipv6_prefix = config.ipv6_prefix;
  limits.table_size = config.table_size;
  limits.refusals_per_second = config.refusals_per_second;
  return limits;
}

// One of the two.
struct ReferenceClock {
  ReferenceClock(const Config& config, Daemon::AdjustClock adjust) {
    if (has_rack(config)) {
      refclock::RackOptions options = rack_options(config);
      options.adjust_kernel = std::move(adjust);
      rack = std::make_unique<refclock::Rack>(options);
    } else {
      kernel = std::make_unique<refclock::SystemClock>(system_clock_options(config));
    }
  }
  void start() { rack ? rack->start() : kernel->start(); }
  const Seqlock<ClockState>& state() const { return rack ? rack->state() : kernel->state(); }
  // What may be said now.
  ClockSample now() const {
    const KernelTime read_at = read_kernel_time();
    return {state().load().at(read_at), read_at};
  }

  std::unique_ptr<refclock::SystemClock> kernel;
  std::unique_ptr<refclock::Rack> rack;
};

KeSample ke_sample(const KeService& service) {
  KeSample sample;
  for (std::size_t i = 0; i < kKeOutcomes; ++i) {
    sample.outcomes[i] = service.count(static_cast<KeOutcome>(i));
  }
  sample.handshakes = service.handshake_times();
  sample.open_connections = service.open_connections();
  return sample;
}

// Of several stores, which may have files in common.
CertificatesStatus status_of(std::initializer_list<const CertificateStore*> stores) {
  CertificatesStatus all;
  for (const CertificateStore* store : stores) {
    if (store == nullptr) continue;
    const CertificatesStatus one = store->status();
    all.reloads += one.reloads;
    all.failures += one.failures;
    for (const CertificateStatus& each : one.each) {
      const auto known = std::ranges::find(all.each, each.file, &CertificateStatus::file);
      if (known == all.each.end()) {
        all.each.push_back(each);
      } else {
        known->refused = known->refused || each.refused;
      }
    }
  }
  return all;
}

KeysSample keys_sample(const KeyProvider& provider) {
  KeysSample sample{provider.status(), read_monotonic_time(), {}};
  for (const auto& generation : provider.keys().current()->generations()) {
    sample.ids.push_back(generation.id);
  }
  return sample;
}

std::unique_ptr<KeyProvider> make_key_provider(const Config& config) {
  if (config.keys.provider == KeysProvider::kEtcd) {
    return or_throw(EtcdKeyProvider::open(config.keys, config.etcd, &crypto::read_entropy));
  }
  // Of the processes that share a key file, the one that serves NTS-KE rotates.
  const bool follows = !config.nts_ke.enabled && !config.keys.file.empty();
  return or_throw(MasterKeyStore::open(config.keys, &crypto::read_entropy, read_monotonic_time(),
                                       read_kernel_time(), follows));
}

// systemd's ProtectClock= forbids it.
bool may_ask_kernel_clock() {
  timex t{};  // modes 0: read only
  return ntp_adjtime(&t) >= 0;
}

}  // namespace

struct Daemon::Impl {
  Impl(const Config& c, std::string path, AdjustClock adjust)
      : config(c),
        at_start(c),
        config_path(std::move(path)),
        key_provider(make_key_provider(config)),
        clock(config, std::move(adjust)),
        access(std::make_shared<const AccessPolicy>(config.access.allow, config.access.deny)) {
    make_shards();
    if (config.nts_ke.enabled) make_ke_service();
    make_admin_certificate();
    monitor.emplace(metric_sources(), config, started);
    make_admin();
    make_admin_socket();
  }

  void make_shards() {
    if (config.ntp.listen.empty()) return;
    const Publications publications{clock.state(), key_provider->keys(), access};
    ShardOptions options{
        config.ntp.listen,
        config.ntp.io,
        {config.ntp.symmetric_active, config.ntp.require_nts, rate_limits(config.rate_limit)},
        config.crypto.implementation,
        {},
        std::nullopt,
        config.admin.clients};
    for (const net::Endpoint& local : config.ntp.listen) {
      or_throw(net::require_udp_port_free(local));
    }
    const unsigned count = config.ntp.shards != 0 ? config.ntp.shards : usable_cpus();
    std::vector<unsigned> cpus;
    for (unsigned i = 0; i < count && count <= usable_cpus(); ++i) {
      cpus.push_back(usable_cpu(i).value());
    }
    if (config.ntp.steering == Steering::kCpu) {
      if (cpus.empty()) {
        throw std::runtime_error(
            "steering by CPU needs a CPU for each shard; lower shards, or set steering to "
            "\"flow\"");
      }
      options.steer_by_cpu = cpus;
    }
    auto others = open_xdp(count);
    for (unsigned i = 0; i < count; ++i) {
      if (!cpus.empty()) options.cpu = cpus[i];
      shards.push_back(std::make_unique<Shard>(options, publications, std::move(others[i])));
    }
  }

  // The batches of every interface's queues, queue by queue to one shard after the other.
  std::vector<std::vector<std::unique_ptr<net::UdpBatch>>> open_xdp(unsigned shard_count) {
    std::vector<std::vector<std::unique_ptr<net::UdpBatch>>> of_shard(shard_count);
    if (config.ntp.io != net::IoBackend::kXdp) return of_shard;
    for (const std::string& name : config.ntp.xdp_interfaces) {
      auto opened =
          or_throw(net::XdpInterface::open({name, config.ntp.xdp_mode, config.ntp.listen}));
      std::size_t n = 0;
      for (auto& batch : opened->batches()) of_shard[n++ % shard_count].push_back(std::move(batch));
      interfaces.push_back(std::move(opened));
    }
    return of_shard;
  }

  void make_ke_service() {
    certificates = or_throw(CertificateStore::open(certificate_files(config)));
    ke_service =
        std::make_unique<KeService>(config.nts_ke, ke_policy(config), certificates->contexts(),
                                    key_provider->keys(), config.crypto.implementation);
    ke_service->listen();
  }

  // The admin listener's own; it follows its files as those of NTS-KE do.
  void make_admin_certificate() {
    const AdminConfig& c = config.admin;
    if (c.listen.empty() || c.certificate.empty()) return;
    admin_certificate =
        or_throw(CertificateStore::open({{c.certificate, c.private_key}}, TlsUse::kHttp));
  }

  void make_admin() {
    if (config.admin.listen.empty()) return;
    AdminHttp::Options options;
    if (!config.admin.token_file.empty()) {
      options.token.emplace(or_throw(AdminToken::read(config.admin.token_file)));
    }
    if (admin_certificate) options.tls = &admin_certificate->contexts();
    if (!options.token && options.tls == nullptr) {  // else other people's pages get nothing anyway
      std::vector<std::string> names = config.admin.names;
      names.push_back(host_name());
      options.names.emplace(std::move(names));
    }
    admin = std::make_unique<AdminHttp>(or_throw(AdminHttp::open(
        control, config.admin.listen.front(), monitor->routes(), std::move(options))));
  }

  // A daemon that is run by hand has no /run/timeball, and serves all the same.
  void make_admin_socket() {
    if (config.admin.socket.empty()) return;
    auto made = AdminSocket::open(control, config.admin.socket, admin_commands());
    if (!made) return spdlog::warn("{}", made.error().message);
    admin_socket.emplace(std::move(*made));
  }

  AdminCommands admin_commands() {
    const auto told = [](const char* what) { return boost::json::object{{"done", what}}; };
    // What to say when it has been done.
    const auto doing = [told](auto act, const char* done) {
      return [=]() -> Result<boost::json::object> {
        if (const Result<void> result = act(); !result) return fail(result.error().message);
        return told(done);
      };
    };
    AdminCommands commands;
    commands["keys show"] = {false, [this]() -> Result<boost::json::object> {
                               const KeysSample keys = keys_sample(*key_provider);
                               if (!keys.ids.empty()) return keys_json(keys, config);
                               return fail("there are no keys yet: etcd has not answered");
                             }};
    commands["keys verify"] = {false, doing([this] { return key_provider->verify(); },
                                            "the keys in use are stored, whole and safe")};
    commands["keys rotate"] = {
        true,
        doing([this] { return key_provider->rotate(read_monotonic_time(), read_kernel_time()); },
              "rotated: the next key has become the current one")};
    commands["keys rekey"] = {
        true,
        doing([this] { return key_provider->rekey(read_monotonic_time(), read_kernel_time()); },
              "replaced: every cookie there is has become worthless")};
    commands["status"] = {false, [this] { return monitor->status(); }};
    commands["alarms"] = {false, [this] { return monitor->alarms(); }};
    commands["clients"] = {false, [this]() -> Result<boost::json::object> {
                             if (config.admin.clients != 0) return monitor->clients();
                             return fail("no clients are kept; write [admin] clients = 20, say");
                           }};
    commands["reload"] = {true, doing([this] { return reload(); }, "reloaded")};
    commands["readmit"] = {true, doing([this] { return readmit(); }, "GNSS is taken back")};
    return commands;
  }

  std::vector<BusyClient> busiest_clients() const {
    std::vector<std::vector<BusyClient>> each;
    for (const auto& shard : shards) each.push_back(shard->busiest_clients(read_monotonic_time()));
    return busiest(each, config.admin.clients);
  }

  // Everything a scrape asks for; called by the control thread.
  MetricSources metric_sources() const {
    MetricSources sources;
    sources.shards = [this] {
      std::vector<const ShardCounters*> counters;
      for (const auto& shard : shards) counters.push_back(&shard->counters());
      return counters;
    };
    if (!interfaces.empty()) {
      sources.xdp = [this] {
        std::vector<net::XdpStatus> all;
        for (const auto& interface : interfaces) all.push_back(interface->status());
        return all;
      };
    }
    sources.process = [this] {
      return ProcessSample{host_name(), read_monotonic_time() - started, unlocked_secrets(),
                           process.read()};
    };
    sources.keys = [this] { return keys_sample(*key_provider); };
    sources.clock = [this] { return clock.now(); };
    if (clock.rack) sources.rack = [this] { return clock.rack->status(); };
    if (certificates || admin_certificate) {
      sources.certificates = [this] {
        return status_of({certificates.get(), admin_certificate.get()});
      };
    }
    if (ke_service) sources.nts_ke = [this] { return ke_sample(*ke_service); };
    if (config.admin.clients != 0) sources.clients = [this] { return busiest_clients(); };
    return sources;
  }

  void run() {
    prefer_shards();
    const std::string sandbox = enter_sandbox(config, config_path);
    for (const auto& shard : shards) shard->start();
    be_realtime(0);
    key_provider->start();
    clock.start();
    if (ke_service) ke_service->start();
    announce();
    spdlog::info("sandbox {}", sandbox);
    notifier.ready(status_line());
    wait_for_signal();
    tick();
    control.run();
    notifier.stopping();
    if (ke_service) ke_service->stop();
    for (const auto& shard : shards) shard->stop();
  }

  // Where the right to it is still there; the shards, started by this thread, inherit it.
  void prefer_shards() {
    const unsigned priority = config.ntp.realtime_priority;
    if (priority == 0 || shards.empty() || be_realtime(priority)) return;
    spdlog::warn(
        "ntp.realtime_priority = {}: not permitted; grant CAP_SYS_NICE or LimitRTPRIO={}, or "
        "write 0",
        priority, priority);
  }

  void wait_for_signal() {
    signals.async_wait([this](const boost::system::error_code& error, int number) {
      if (error) return;
      if (number != SIGHUP) {
        spdlog::info("stopping on {}", number == SIGTERM ? "SIGTERM" : "SIGINT");
        return control.stop();
      }
      (void)reload();  // says so in the log
      wait_for_signal();
    });
  }

  Result<void> readmit() {
    if (!clock.rack) return fail("there is no receiver to take back");
    clock.rack->readmit();
    return {};
  }

  Result<void> reload() {
    notifier.reloading();
    const Result<void> result = read_configuration();
    notifier.ready(status_line());
    return result;
  }

  Result<void> read_configuration() {
    const LoadedConfig loaded = load_config(config_path);
    for (const ConfigError& warning : loaded.warnings) spdlog::warn("{}", warning.to_string());
    for (const ConfigError& error : loaded.errors) spdlog::error("{}", error.to_string());
    if (loaded.errors.empty() && apply(loaded.config)) return {};
    std::string why = "the log says why";
    if (!loaded.errors.empty()) why += ": " + loaded.errors[0].to_string();
    if (reaches_beyond(at_start, loaded.config, config_path)) {
      why += "; the sandbox does not show directories that nothing named at the start: restart";
    }
    spdlog::error("reload: nothing is changed; mend {} and reload again", config_path);
    return fail("nothing is changed; " + why);
  }

  // Whether the new configuration is in force, as far as it can be without a restart.
  bool apply(const Config& fresh) {
    std::optional<CertificateStore::Loaded> fresh_certificates;
    if (certificates && fresh.nts_ke.enabled) {
      auto read = certificates->read(certificate_files(fresh), utc());
      if (!read) {
        spdlog::error("{}", read.error().message);
        return false;
      }
      fresh_certificates = std::move(*read);
    }
    for (const SettingChange& change : changes(config, fresh)) {
      spdlog::info("reload: {} from {} to {}{}", change.path, change.from, change.to,
                   change.reloadable ? "" : ": takes a restart");
    }
    if (fresh_certificates) certificates->take(std::move(*fresh_certificates));
    access.publish(std::make_shared<const AccessPolicy>(fresh.access.allow, fresh.access.deny));
    spdlog::set_level(spdlog::level::from_str(fresh.log.level));
    config.nts_ke.certificates = fresh.nts_ke.certificates;
    config.nts_ke.private_keys = fresh.nts_ke.private_keys;
    config.access = fresh.access;
    config.admin.ready_bound = fresh.admin.ready_bound;
    config.log.level = fresh.log.level;
    spdlog::info("reloaded {}", config_path);
    return true;
  }

  // Once it is known: a machine may start in 1970.
  std::optional<UtcTime> utc() const {
    const auto [state, now] = clock.now();
    return state.synchronised() ? std::optional(state.utc(now)) : std::nullopt;
  }

  // For a person who asks the service manager.
  std::string status_line() const {
    const ClockSample served = clock.now();
    const std::string source =
        clock.rack ? std::string(refclock::name_of(clock.rack->status().clock.state))
                   : "the kernel's clock";
    if (!served.state.synchronised()) return source + ", unsynchronised";
    return fmt::format("{}, stratum {}, true within {}", source, served.state.stratum,
                       duration_text(served.error_bound()));
  }

  void announce() {
    if (shards.empty()) {
      spdlog::info("timeballd {} serves no NTP", TIMEBALL_VERSION);
    } else {
      spdlog::info("timeballd {} serves NTP on {} ({} shards)", TIMEBALL_VERSION,
                   list(config.ntp.listen), shards.size());
    }
    for (const auto& interface : interfaces) {
      const net::XdpStatus s = interface->status();
      spdlog::info("AF_XDP on {}: {}, {}, {} queue{}", s.interface, s.native ? "native" : "generic",
                   s.zero_copy ? "zero copy" : "copy", s.queues, s.queues == 1 ? "" : "s");
    }
    if (ke_service) spdlog::info("NTS-KE on {}", list(config.nts_ke.listen));
    spdlog::info("AEAD by {}", crypto::choose(config.crypto.implementation).name);
    if (admin) {
      spdlog::info("panel and metrics on {}://{}/", admin_certificate ? "https" : "http",
                   admin->local().to_string());
    }
    if (clock.rack) return spdlog::info("time: from {} reference clocks", config.refclocks.size());
    const ClockState now = clock.state().load();
    if (shards.empty()) return;
    if (!now.synchronised() && !may_ask_kernel_clock()) {
      spdlog::warn(
          "this process may not ask the kernel whether its clock is right (adjtimex): serving leap "
          "indicator 3; add kernel-clock.conf to the unit, or set trust = true under [[refclock]]");
    } else if (!now.synchronised()) {
      spdlog::warn(
          "the kernel's clock is not synchronised: serving leap indicator 3 until it is; "
          "run a time client here, or set trust = true under [[refclock]]");
    } else if (config.refclocks[0].trust) {
      spdlog::warn(
          "trust = true: serving the kernel's clock at stratum {} whatever it says of itself",
          now.stratum);
    }
  }

  std::vector<std::uint64_t> shard_turns() const {
    std::vector<std::uint64_t> turns;
    for (const auto& shard : shards) turns.push_back(shard->counters().turns.value());
    return turns;
  }

  void tick() {
    timer.expires_after(kTick);
    timer.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      key_provider->tick(read_monotonic_time(), read_kernel_time());
      if (certificates) certificates->tick(read_monotonic_time(), utc());
      if (admin_certificate) admin_certificate->tick(read_monotonic_time(), utc());
      for (const auto& interface : interfaces) {
        if (const std::string line = interface->tick(); !line.empty()) spdlog::error("{}", line);
      }
      monitor->tick(read_monotonic_time());
      if (admin && admin->streams() > 0) {
        admin->publish("status", boost::json::serialize(monitor->status()));
      }
      notifier.tick([this] { return status_line(); }, shard_turns());
      tick();
    });
  }

  Config config;
  const Config at_start;
  std::string config_path;
  ProcessFiles process;
  std::unique_ptr<KeyProvider> key_provider;
  ReferenceClock clock;
  Published<AccessPolicy> access;
  std::unique_ptr<CertificateStore> certificates;
  std::unique_ptr<CertificateStore> admin_certificate;
  std::vector<std::unique_ptr<net::XdpInterface>> interfaces;  // after them, the shards
  std::vector<std::unique_ptr<Shard>> shards;
  std::unique_ptr<KeService> ke_service;
  asio::io_context control{1};
  asio::signal_set signals{control, SIGTERM, SIGINT, SIGHUP};
  asio::steady_timer timer{control};
  const MonotonicTime started = read_monotonic_time();
  std::optional<Monitor> monitor;
  std::unique_ptr<AdminHttp> admin;
  std::optional<AdminSocket> admin_socket;
  Notifier notifier;
};

Daemon::Daemon(const Config& config, std::string config_path, AdjustClock adjust)
    : impl_(std::make_unique<Impl>(config, std::move(config_path), std::move(adjust))) {}
Daemon::~Daemon() = default;

void Daemon::run() {
  impl_->run();
}

}  // namespace timeball::server
