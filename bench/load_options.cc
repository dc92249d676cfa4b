#include "bench/load_options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <limits>

#include "common/time/duration_text.h"

namespace timeball::bench {
namespace {

constexpr const char* kRun = "Common options";
constexpr const char* kLimits = "Limits";
constexpr const char* kReports = "Reports";
constexpr const char* kKe = "TLS and NTS-KE";

void add_ke_options(CLI::App& command, KeClientOptions& ke) {
  command
      .add_option_function<std::vector<std::uint16_t>>(
          "--aead", [&ke](const auto& aeads) { ke.request.aeads = aeads; },
          "Offer this AEAD algorithm, by its IANA number; repeat it for more, in order of "
          "preference. Without it 30, 15, 17 and 16 are offered")
      ->check(CLI::IsMember({15, 16, 17, 30}))
      ->allow_extra_args(false)
      ->type_name("ID")
      ->group(kKe);
  command
      .add_option("--groups", ke.groups,
                  "Key exchange groups, in OpenSSL's notation; a key share is sent for the first")
      ->type_name("LIST")
      ->capture_default_str()
      ->group(kKe);
  command
      .add_option("--cipher-suites", ke.cipher_suites,
                  "TLS 1.3 cipher suites to offer, separated by colons. Without it "
                  "AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305, in this order")
      ->type_name("LIST")
      ->group(kKe);
  command
      .add_flag("--verify", ke.verify,
                "Verify the server's certificate in every handshake. Off by default: it costs the "
                "load generator CPU time and the server none. The server's signature of the "
                "handshake is always verified")
      ->group(kKe);
  command
      .add_option_function<std::string>(
          "--ca",
          [&ke](const std::string& file) {
            ke.ca_file = file;
            ke.verify = true;
          },
          "Verify against these CA certificates (PEM) instead of the system's; implies --verify")
      ->type_name("FILE")
      ->group(kKe);
  add_duration(
      command, "--timeout", kKe, std::chrono::milliseconds(1), ke.timeout,
      [&ke](Duration d) { ke.timeout = d; },
      "How long one NTS-KE exchange may take, TCP and TLS included");
}

void add_limits(CLI::App& command, LoadLimits& limits) {
  add_share(
      command, "--fail-loss", kLimits, [&limits](double share) { limits.loss = share; },
      "Exit with status 4 when a larger share than this of what was begun is not done");
  add_duration(
      command, "--fail-p99", kLimits, Duration(1), std::nullopt,
      [&limits](Duration d) { limits.p99 = d; },
      "Exit with status 4 when the 99th percentile of the latency is longer than this");
}

void add_reports(CLI::App& command, CommonOptions& options) {
  command
      .add_option("--server-pid", options.server_pid,
                  "Measure the server's CPU time too: that of this process's threads and of its "
                  "child processes, from /proc")
      ->check(CLI::Range(1, std::numeric_limits<int>::max()))
      ->type_name("PID")
      ->group(kReports);
  command
      .add_option("--server-also", options.server_also,
                  "Count this process as the server's too (may be repeated): a thread of the "
                  "kernel that works for it, such as napi/eth0-1")
      ->check(CLI::Range(1, std::numeric_limits<int>::max()))
      ->type_name("PID")
      ->allow_extra_args(false)
      ->group(kReports);
  command.add_option("--json", options.json_file, "Write the report as JSON; - is standard output")
      ->type_name("FILE")
      ->group(kReports);
  command
      .add_option("--html", options.html_file,
                  "Write the report as one self-contained page with plots of rate, latency and "
                  "loss over time")
      ->type_name("FILE")
      ->group(kReports);
}

}  // namespace

CLI::Option* add_duration(CLI::App& command, const std::string& name, const std::string& group,
                          Duration least, std::optional<Duration> otherwise,
                          std::function<void(Duration)> store, const std::string& help) {
  const auto read = [=](const std::string& text) {
    const auto duration = parse_duration(text);
    if (!duration || *duration < least)
      throw CLI::ValidationError(name, "\"" + text + "\" is not a duration of at least " +
                                           print_duration(least) +
                                           "; write a number with a unit: 10s, 250ms");
    store(*duration);
  };
  CLI::Option* option = command.add_option_function<std::string>(name, read, help);
  if (otherwise) option->default_str(print_duration(*otherwise));
  return option->type_name("TIME")->group(group);
}

CLI::Option* add_share(CLI::App& command, const std::string& name, const std::string& group,
                       std::function<void(double)> store, const std::string& help) {
  const auto read = [=](const std::string& text) {
    const auto share = parse_share(text);
    if (!share)
      throw CLI::ValidationError(
          name, "\"" + text + "\" is not a share from 0 to 1; write 0.1% or 0.001");
    store(*share);
  };
  return command.add_option_function<std::string>(name, read, help)
      ->type_name("SHARE")
      ->group(group);
}

void add_common_options(CLI::App& command, CommonOptions& options) {
  command
      .add_option(
          "HOST", options.target,
          "The server: a name, whose first address is taken, or an address, IPv6 in brackets "
          "when a port follows")
      ->required()
      ->group(kRun);
  add_duration(
      command, "--duration", kRun, std::chrono::milliseconds(100), options.duration,
      [&options](Duration d) { options.duration = d; }, "How long to measure");
  add_duration(
      command, "--warm-up", kRun, Duration(0), options.warm_up,
      [&options](Duration d) { options.warm_up = d; }, "How long to load before that; not counted");
  command
      .add_option("--threads", options.threads,
                  "Threads of the load generator; they share the load, and each wants a CPU")
      ->check(CLI::Range(1, 256))
      ->type_name("N")
      ->capture_default_str()
      ->group(kRun);
  command
      .add_flag("--i-own-this-server", options.own_server,
                "Aim at a server that is not on this machine. Without it only loopback and the "
                "addresses of this machine's interfaces and network namespaces are taken, because "
                "a load can take a server away from its clients")
      ->group(kRun);
  command.set_help_flag("--help", "Show this manual")->group(kRun);
  add_limits(command, options.limits);
  add_reports(command, options);
  add_ke_options(command, options.ke);
}

std::optional<double> parse_share(std::string_view text) {
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  if (percent) value /= 100;
  if (!(value >= 0 && value <= 1)) return std::nullopt;
  return value;
}

}  // namespace timeball::bench
