// timeballd: the daemon's command line. Only here are exceptions caught: one line, exit status 2
// for a configuration that cannot be used, 1 for a start that failed.
#include <linux/capability.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/base/secret_memory.h"
#include "server/clock_helper.h"
#include "server/daemon.h"
#include "server/file.h"
#include "server/process_rights.h"
#include "server/sandbox_self_test.h"
#include "server/settings.h"
#include "server/timeballd_page.h"

#if defined(__SANITIZE_ADDRESS__)
#define TIMEBALL_ASAN 1
#elif defined(__has_feature)
#define TIMEBALL_ASAN __has_feature(address_sanitizer)
#else
#define TIMEBALL_ASAN 0
#endif

namespace {

using timeball::server::LoadedConfig;

constexpr int kExitFailed = 1;
constexpr int kExitBadConfig = 2;

struct Options {
  std::string config = "/etc/timeball/timeballd.toml";
  bool check = false;
  bool print_config = false;
  bool self_test_sandbox = false;
  std::string helps;  // the user whose daemon it sets the clock for; empty: it is the daemon
};

void report(const LoadedConfig& loaded) {
  for (const auto& warning : loaded.warnings) {
    std::fprintf(stderr, "warning: %s\n", warning.to_string().c_str());
  }
  for (const auto& error : loaded.errors) {
    std::fprintf(stderr, "error: %s\n", error.to_string().c_str());
  }
}

// Dumpable 0 keeps the memory from core files and from core_pattern's programs, from ptrace and
// from /proc for everybody but root; RLIMIT_CORE stands in where something makes it dumpable again.
void forbid_core_dumps() {
#if !TIMEBALL_ASAN  // LeakSanitizer traces the process it is in
  const rlimit none{0, 0};
  if (prctl(PR_SET_DUMPABLE, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0) {
    throw std::runtime_error("the kernel refuses to forbid core dumps");
  }
#endif
}

void tell_of_unlocked_secrets() {
  if (timeball::unlocked_secrets() == 0) return;
  spdlog::warn(
      "memory for master keys cannot be locked, so that it may get into swap: raise LimitMEMLOCK "
      "(ulimit -l) to 8 MiB or more, or turn swap off");
}

// What the process has become.
struct Place {
  std::string user;  // when it became another
  timeball::server::Daemon::AdjustClock adjust;
};

// Before anything secret is read: whoever the daemon is to be reads it.
Place take_place(const std::string& config_path, bool to_serve) {
  const auto text = timeball::server::read_whole_file(config_path);
  if (!text) return {};  // whoever loads it says so
  const LoadedConfig loaded = timeball::server::parse_config(*text, config_path);
  if (!loaded.errors.empty()) return {};
  const auto& config = loaded.config;
  const auto account = timeball::server::account_to_become(config.process);
  Place place;
  if (account && account->user != 0) place.user = account->name;
  const bool steers = to_serve && config.clock.mode == timeball::server::ClockMode::kSystem;
  if (steers && config.clock.helper.empty()) {
    place.adjust = timeball::server::start_clock_helper(account, config.process.sandbox);
  }
  timeball::server::raise_descriptor_limit();
  auto kept = timeball::server::capability(CAP_NET_BIND_SERVICE);
  if (config.ntp.realtime_priority != 0) kept |= timeball::server::capability(CAP_SYS_NICE);
  if (config.ntp.io == timeball::net::IoBackend::kXdp) {
    for (const int right : {CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON, CAP_IPC_LOCK}) {
      kept |= timeball::server::capability(right);
    }
  }
  timeball::server::become(account, kept);
  if (steers && !config.clock.helper.empty()) {
    place.adjust = timeball::server::reach_clock_helper(config.clock.helper);
  }
  forbid_core_dumps();  // to become another user undoes it
  return place;
}

int serve(const Options& options, bool config_given) {
  Place place;
  if (!options.print_config)
    place = take_place(options.config, !options.check && !options.self_test_sandbox);
  // --print-config without a file shows the defaults.
  const LoadedConfig loaded = options.print_config && !config_given
                                  ? timeball::server::parse_config("", "defaults")
                                  : timeball::server::load_config(options.config);
  if (options.print_config && !config_given) {
    std::fputs(timeball::server::print_config(loaded.config).c_str(), stdout);
    return 0;
  }
  report(loaded);
  if (!loaded.errors.empty()) {
    if (!place.user.empty())
      std::fprintf(stderr, "note: read as the user %s ([process] user)\n", place.user.c_str());
    return kExitBadConfig;
  }
  if (options.print_config) {
    std::fputs(timeball::server::print_config(loaded.config).c_str(), stdout);
    return 0;
  }
  if (options.check) {
    std::printf("%s: good\n", options.config.c_str());
    return 0;
  }
  if (options.self_test_sandbox) {
    return timeball::server::self_test_sandbox(loaded.config, options.config) ? 0 : kExitFailed;
  }
  timeball::set_up_log(loaded.config.log.level, loaded.config.log.format);
  timeball::server::Daemon daemon(loaded.config, options.config, std::move(place.adjust));
  tell_of_unlocked_secrets();
  daemon.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{
      "timeballd: an NTP and NTS (RFC 8915) time server.\n"
      "Exit status: 0 after SIGTERM, 1 when it could not start, 2 for a bad configuration."};
  app.set_version_flag("--version", "timeballd " TIMEBALL_VERSION);
  auto* config = app.add_option("-c,--config", options.config, "configuration file, TOML")
                     ->capture_default_str()
                     ->type_name("FILE");
  app.add_flag("--check", options.check,
               "check the configuration and the files it names, then end");
  app.add_flag(
      "--self-test-sandbox", options.self_test_sandbox,
      "try from inside the configuration's sandbox what must fail there, then end: 0 when all "
      "does, 1 otherwise; serves nothing");
  app.add_flag(
      "--print-config", options.print_config,
      "print every setting with its help, as in force or, without --config, as by default");
  app.add_option("--clock-helper", options.helps,
                 "set the clock for that user's timeballd and do nothing else: what "
                 "timeballd-clock.service runs")
      ->type_name("USER");
  timeball::server::add_documents(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : kExitBadConfig;
  }
  try {
    forbid_core_dumps();
    if (!options.helps.empty()) {
      timeball::server::serve_as_clock_helper(options.helps);
      return 0;
    }
    return serve(options, config->count() > 0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "timeballd: %s\n", error.what());
    return kExitFailed;
  }
}
