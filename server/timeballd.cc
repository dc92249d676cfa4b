// timeballd: the daemon's command line. Only here are exceptions caught: one line, exit status 2
// for a configuration that cannot be used, 1 for a start that failed.
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "server/daemon.h"
#include "server/settings.h"

namespace {

using timeball::server::LoadedConfig;

constexpr int kExitFailed = 1;
constexpr int kExitBadConfig = 2;

struct Options {
  std::string config = "/etc/timeball/timeballd.toml";
  bool check = false;
  bool print_config = false;
};

void report(const LoadedConfig& loaded) {
  for (const auto& warning : loaded.warnings) {
    std::fprintf(stderr, "warning: %s\n", warning.to_string().c_str());
  }
  for (const auto& error : loaded.errors) {
    std::fprintf(stderr, "error: %s\n", error.to_string().c_str());
  }
}

int serve(const Options& options, bool config_given) {
  // --print-config without a file shows the defaults.
  const LoadedConfig loaded = options.print_config && !config_given
                                  ? timeball::server::parse_config("", "defaults")
                                  : timeball::server::load_config(options.config);
  if (options.print_config && !config_given) {
    std::fputs(timeball::server::print_config(loaded.config).c_str(), stdout);
    return 0;
  }
  report(loaded);
  if (!loaded.errors.empty()) return kExitBadConfig;
  if (options.print_config) {
    std::fputs(timeball::server::print_config(loaded.config).c_str(), stdout);
    return 0;
  }
  if (options.check) {
    std::printf("%s: good\n", options.config.c_str());
    return 0;
  }
  timeball::set_up_log(loaded.config.log.level, loaded.config.log.format);
  timeball::server::Daemon(loaded.config, options.config).run();
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
                     ->capture_default_str();
  app.add_flag("--check", options.check,
               "check the configuration and the files it names, then end");
  app.add_flag(
      "--print-config", options.print_config,
      "print every setting with its help, as in force or, without --config, as by default");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : kExitBadConfig;
  }
  try {
    return serve(options, config->count() > 0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "timeballd: %s\n", error.what());
    return kExitFailed;
  }
}
