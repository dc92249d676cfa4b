// ntsload: the load generator for NTS servers, ours or another's.
//
//   ntsload ke HOST     TLS 1.3 handshakes with NTS-KE
//   ntsload ntp HOST    NTP requests, with NTS or without

#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <string>

#include "bench/load_command.h"
#include "bench/load_manual.h"
#include "bench/report_writers.h"
#include "common/cli/completion.h"

namespace timeball::bench {
namespace {

// Exit statuses.
constexpr int kFine = 0;
constexpr int kLocal = 1;
constexpr int kUsage = 2;
constexpr int kNothingDone = 3;
constexpr int kLimitPassed = 4;

int complain(const Error& error, int status) {
  std::fprintf(stderr, "ntsload: %s\n", error.message.c_str());
  return status;
}

// A connection is a descriptor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

Result<void> write_file(const std::string& path, const std::string& text) {
  errno = 0;
  std::ofstream file(path, std::ios::trunc);
  file << text << std::flush;
  if (file) return {};
  return fail("cannot write " + path + ": " + std::strerror(errno));
}

// JSON on standard output takes the place of the text.
Result<void> write_reports(const LoadReport& report, const CommonOptions& options) {
  const bool json_only = options.json_file == "-";
  std::fputs((json_only ? report_json(report) : report_text(report)).c_str(), stdout);
  if (!json_only && !options.json_file.empty()) {
    if (const auto written = write_file(options.json_file, report_json(report)); !written)
      return written;
  }
  if (options.html_file.empty()) return {};
  return write_file(options.html_file, report_html(report));
}

int run(LoadCommand& command, const CommonOptions& options) {
  if (const auto fits = command.check(options); !fits) return complain(fits.error(), kUsage);
  const auto target = find_target(options.target, command.default_port(), options.own_server);
  if (!target) return complain(target.error(), kUsage);
  raise_descriptor_limit();
  Progress progress;
  auto report = command.run(options, *target, progress);
  progress.clear();
  if (!report) return complain(report.error(), kLocal);
  report->mode = command.name();
  report->target = target->endpoint.to_string();
  report->limits_passed = check_limits(*report, options.limits);
  if (const auto written = write_reports(*report, options); !written)
    return complain(written.error(), kLocal);
  if (report->done == 0) return kNothingDone;
  return report->limits_passed.empty() ? kFine : kLimitPassed;
}

LoadCommands all_commands() {
  LoadCommands commands;
  commands.push_back(make_ke_command());
  commands.push_back(make_ntp_command());
  return commands;
}

int ntsload_main(int argc, char** argv) {
  CLI::App app("", "ntsload");
  app.set_version_flag("--version", "ntsload " TIMEBALL_VERSION);
  app.require_subcommand(1);
  CommonOptions options;
  const LoadCommands commands = all_commands();
  app.formatter_fn([&](auto&&...) { return as_text(manual_of(app, commands)); });
  app.add_flag_callback("--man", [&] {
    std::fputs(as_roff(manual_of(app, commands), {"ntsload", 1}).c_str(), stdout);
    throw CLI::Success();
  });
  app.add_flag_callback("--completion",
                        [&] {
                          std::fputs(cli::bash_completion(app, "ntsload").c_str(), stdout);
                          throw CLI::Success();
                        })
      ->group("");
  for (const auto& command : commands) {
    CLI::App* sub = app.add_subcommand(std::string(command->name()));
    sub->formatter_fn([&, sub](auto&&...) { return as_text(manual_of(*sub, *command)); });
    command->add_options(*sub);
    add_common_options(*sub, options);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kFine : kUsage;
  }
  std::signal(SIGPIPE, SIG_IGN);
  const std::string chosen = app.get_subcommands().front()->get_name();
  const auto command = std::find_if(commands.begin(), commands.end(),
                                    [&](const auto& c) { return c->name() == chosen; });
  return run(**command, options);
}

}  // namespace
}  // namespace timeball::bench

int main(int argc, char** argv) {
  try {
    return timeball::bench::ntsload_main(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "ntsload: %s\n", e.what());
    return 1;
  }
}
