// timeball: the operator's command.
//
//   timeball query HOST     asks an NTS server for the time, and says what is wrong when it fails
//   timeball cert lab DIR   makes a lab CA and a server certificate
//   timeball keys ...       shows, rotates, replaces or verifies a daemon's master keys
//   timeball reload         puts what is reloadable of the configuration in force
//   timeball readmit        the operator's word that GNSS is right
//   timeball status         whether the time is right, and how the rest is; sources, alarms,
//   clients

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "common/time/duration_text.h"
#include "server/admin_socket.h"
#include "server/admin_tool.h"
#include "server/lab_certificate.h"
#include "server/query.h"
#include "server/query_report.h"
#include "server/status_text.h"
#include "server/timeball_page.h"

namespace timeball::server {
namespace {

constexpr int kFailure = 1;

struct QueryCommand {
  QueryOptions options;
  std::vector<std::uint16_t> aeads;
  double interval_s = 1;
  double timeout_s = 5;
  bool ipv4 = false;
  bool ipv6 = false;
  bool json = false;
};

struct LabCommand {
  std::string directory;
  std::vector<std::string> hosts;
  bool force = false;
};

std::string exit_statuses() {
  std::string text = "Exit status:";
  for (int i = 0; i < kQueryStatuses; ++i)
    text += "\n  " + std::to_string(i) + "  " + help_of(static_cast<QueryStatus>(i));
  return text +
         "\nWith --count, the last exchange decides. With --plain, 0 means answered.\n"
         "Environment: SSLKEYLOGFILE names a file for the TLS secrets, for Wireshark.";
}

void add_query(CLI::App& app, QueryCommand& command) {
  QueryOptions& o = command.options;
  CLI::App* query = app.add_subcommand("query", "Ask an NTS server for the time, step by step");
  query->footer(exit_statuses());
  query->add_option("HOST", o.host, "Name or address of the NTS-KE server")->required();
  query->add_option("--ke-port", o.ke_port, "TCP port of NTS-KE")
      ->capture_default_str()
      ->check(CLI::Range(1, 65535))
      ->type_name("PORT");
  query->add_option("--ntp-port", o.ntp_port, "UDP port of NTP, instead of the negotiated one")
      ->check(CLI::Range(1, 65535))
      ->type_name("PORT");
  query->add_option("--ca", o.ca_file, "PEM file of CA certificates, instead of the system's")
      ->type_name("FILE");
  query->add_flag("--insecure", o.insecure, "Go on when the certificate does not verify");
  query->add_option("--aead", command.aeads, "Offer only this AEAD (may be repeated)")
      ->check(CLI::IsMember({15, 16, 17, 30}))
      ->allow_extra_args(false);
  query->add_option("--count", o.count, "Number of NTP exchanges")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  query->add_option("--interval", command.interval_s, "Seconds between NTP exchanges")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 86400.0));
  query->add_option("--timeout", command.timeout_s, "Seconds for NTS-KE, and for each NTP reply")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 3600.0));
  query->add_flag("--plain", o.plain, "NTP without NTS");
  query->add_flag("--json", command.json, "One JSON object instead of text");
  CLI::Option* ipv4 = query->add_flag("-4", command.ipv4, "IPv4 only");
  query->add_flag("-6", command.ipv6, "IPv6 only")->excludes(ipv4);
}

void add_cert(CLI::App& app, LabCommand& command) {
  CLI::App* cert = app.add_subcommand("cert", "Make certificates");
  cert->require_subcommand(1);
  CLI::App* lab = cert->add_subcommand("lab", "Make a lab CA and a server certificate under it");
  lab->add_option("DIR", command.directory, "Where the files go; a CA already there is used again")
      ->required()
      ->type_name("DIR");
  lab->add_option("--host", command.hosts,
                  "DNS name or IP address of the server (may be repeated); without it: localhost, "
                  "127.0.0.1, ::1")
      ->allow_extra_args(false);
  lab->add_flag("--force", command.force, "Replace a private key or a CA that is not ours");
}

constexpr const char* kControlSocket = "/run/timeball/control";

// What is asked of a running daemon.
struct DaemonCommand {
  std::string socket = kControlSocket;
  std::string command;  // as server/admin_socket.h has it
  bool json = false;
};

CLI::App* add_daemon_command(CLI::App& app, DaemonCommand& command, const std::string& name,
                             const std::string& path, const char* help) {
  CLI::App* sub = app.add_subcommand(name, help);
  sub->add_option("--socket", command.socket, "The daemon's admin.socket")
      ->capture_default_str()
      ->type_name("FILE");
  sub->add_flag("--json", command.json, "The answer as it is");
  sub->callback([&command, path] { command.command = path; });
  return sub;
}

void add_daemon_commands(CLI::App& app, DaemonCommand& command) {
  CLI::App* keys = app.add_subcommand("keys", "A running daemon's master keys");
  keys->require_subcommand(1);
  add_daemon_command(*keys, command, "show", "keys show", "Identifiers and ages; never a key");
  add_daemon_command(*keys, command, "rotate", "keys rotate",
                     "Rotate now: the next key becomes current, older ones still open cookies");
  add_daemon_command(*keys, command, "rekey", "keys rekey",
                     "Emergency: drop every key; each client runs NTS-KE again");
  add_daemon_command(*keys, command, "verify", "keys verify",
                     "Whether the key file is safe, whole, and holds the keys in use");
  add_daemon_command(app, command, "reload", "reload",
                     "Put what is reloadable of the configuration in force, or, with any error, "
                     "nothing");
  add_daemon_command(app, command, "readmit", "readmit",
                     "Your word that GNSS is right: a receiver that was excluded is taken back");
}

int run(const DaemonCommand& command) {
  const auto answer = ask_daemon(command.socket, command.command);
  if (!answer) {
    std::fprintf(stderr, "timeball %s: %s\n", command.command.c_str(),
                 answer.error().message.c_str());
    return kFailure;
  }
  const std::string text =
      command.json ? boost::json::serialize(*answer) + "\n" : answer_text(command.command, *answer);
  std::fputs(text.c_str(), stdout);
  return 0;
}

// What a running daemon says of itself.
struct StatusCommand {
  std::string socket = kControlSocket;
  std::string what;  // status, sources, alarms or clients; empty: none of them
  bool json = false;
  bool watch = false;
  bool nagios = false;
  HealthLimits limits;
};

void add_limit(CLI::App& app, const std::string& name, std::optional<Duration>& limit,
               const char* help) {
  app.add_option_function<std::string>(
         name,
         [&limit, name](const std::string& text) {
           limit = parse_duration(text);
           if (!limit) throw CLI::ValidationError(name, "is a time, as 500ns, 10us or 1ms");
         },
         help)
      ->type_name("TIME");
}

void add_status_command(CLI::App& app, StatusCommand& command, const std::string& name,
                        const char* help) {
  CLI::App* sub = app.add_subcommand(name, help);
  sub->add_option("--socket", command.socket, "The daemon's admin.socket")->capture_default_str();
  CLI::Option* json = sub->add_flag("--json", command.json, "The daemon's answer as it is");
  sub->add_flag("--watch", command.watch, "Again every second, until Ctrl-C")->excludes(json);
  sub->callback([&command, name] { command.what = name; });
  if (name != "status") return;
  sub->add_flag("--nagios", command.nagios,
                "One line and an exit status, as monitoring plugins have it: 0 OK, 1 WARNING, "
                "2 CRITICAL, 3 UNKNOWN")
      ->excludes(json);
  add_limit(*sub, "--warning", command.limits.warning, "WARNING when the error bound is over it");
  add_limit(*sub, "--critical", command.limits.critical,
            "CRITICAL when the error bound is over it");
}

void add_status_commands(CLI::App& app, StatusCommand& command) {
  add_status_command(app, command, "status", "Whether the time is right, and how the rest is");
  add_status_command(app, command, "sources", "The reference clocks, satellite by satellite");
  add_status_command(app, command, "alarms", "What is wrong, and what to do about it");
  add_status_command(app, command, "clients", "The busiest clients (with admin.clients)");
}

std::string shown(const StatusCommand& command, const boost::json::object& answer, bool colour) {
  if (command.json) return boost::json::serialize(answer) + "\n";
  if (command.what == "sources") return sources_text(answer, colour);
  if (command.what == "alarms") return alarms_text(answer, colour);
  if (command.what == "clients") return clients_text(answer);
  return status_text(answer, colour);
}

int run(const StatusCommand& command) {
  constexpr const char* kClear = "\x1b[H\x1b[2J";
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  do {
    const auto answer =
        ask_daemon(command.socket, command.what == "clients" ? "clients" : "status");
    if (!answer && command.nagios) {
      std::printf("TIMEBALL UNKNOWN - %s\n", answer.error().message.c_str());
      return static_cast<int>(Health::kUnknown);
    }
    if (!answer) {
      std::fprintf(stderr, "timeball %s: %s\n", command.what.c_str(),
                   answer.error().message.c_str());
      return kFailure;
    }
    if (command.nagios) {
      std::fputs(plugin_text(*answer, command.limits).c_str(), stdout);
      return static_cast<int>(health_of(*answer, command.limits));
    }
    if (command.watch && terminal) std::fputs(kClear, stdout);
    std::fputs(shown(command, *answer, terminal).c_str(), stdout);
    std::fflush(stdout);
    if (command.watch) std::this_thread::sleep_for(std::chrono::seconds(1));
  } while (command.watch && std::ferror(stdout) == 0);
  return 0;
}

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(seconds));
}

int run(QueryCommand& command) {
  QueryOptions& options = command.options;
  if (!command.aeads.empty()) options.ke.aeads = command.aeads;
  options.interval = milliseconds(command.interval_s);
  options.timeout = milliseconds(command.timeout_s);
  options.family = command.ipv4 ? AF_INET : command.ipv6 ? AF_INET6 : AF_UNSPEC;
  const auto show = [&](const QueryReport& report, QueryStep step) {
    if (command.json) return;
    std::fputs(step_text(report, step).c_str(), stdout);
    std::fflush(stdout);
  };
  const QueryReport report = run_query(options, show);
  const std::string last = command.json ? report_json(report) + "\n" : conclusion_text(report);
  std::fputs(last.c_str(), stdout);
  return static_cast<int>(report.status());
}

int run(const LabCommand& command) {
  const UtcTime now{
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count()};
  const auto made = make_lab_certificates(command.directory, command.hosts, now, command.force);
  if (!made) {
    std::fprintf(stderr, "timeball cert lab: %s\n", made.error().message.c_str());
    return kFailure;
  }
  std::string hosts;
  for (const std::string& host : made->hosts) hosts += " " + host;
  const std::string ca = std::filesystem::absolute(made->ca_certificate);
  std::printf(
      "%s CA           %s (key: %s, keep it secret)\n"
      "made server cert  %s for%s\n"
      "made private key  %s\n\n"
      "timeballd.toml    [nts_ke]\n"
      "                  certificate = \"%s\"\n"
      "                  private_key = \"%s\"\n"
      "timeball query    timeball query --ca %s %s\n"
      "chrony.conf       ntstrustedcerts %s\n"
      "                  server %s iburst nts\n"
      "ntp.conf (NTPsec) server %s nts ca %s\n",
      made->ca_reused ? "used" : "made", made->ca_certificate.c_str(), made->ca_key.c_str(),
      made->certificate_chain.c_str(), hosts.c_str(), made->private_key.c_str(),
      std::filesystem::absolute(made->certificate_chain).c_str(),
      std::filesystem::absolute(made->private_key).c_str(), ca.c_str(), made->hosts.front().c_str(),
      ca.c_str(), made->hosts.front().c_str(), made->hosts.front().c_str(), ca.c_str());
  return 0;
}

int timeball_main(int argc, char** argv) {
  CLI::App app("timeball: the operator's command of the Timeball NTS server", "timeball");
  app.set_version_flag("--version", "timeball " TIMEBALL_VERSION);
  app.require_subcommand(1);
  QueryCommand query;
  LabCommand lab;
  add_query(app, query);
  add_cert(app, lab);
  DaemonCommand daemon;
  add_daemon_commands(app, daemon);
  StatusCommand status;
  add_status_commands(app, status);
  cli::add_documents(app, timeball_page());
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : static_cast<int>(QueryStatus::kUsage);
  }
  std::signal(SIGPIPE, SIG_IGN);
  if (!daemon.command.empty()) return run(daemon);
  if (!status.what.empty()) return run(status);
  return app.got_subcommand("query") ? run(query) : run(lab);
}

}  // namespace
}  // namespace timeball::server

int main(int argc, char** argv) {
  try {
    return timeball::server::timeball_main(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "timeball: %s\n", e.what());
    return 1;
  }
}
