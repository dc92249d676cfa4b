#include "server/timeballd_page.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "common/cli/manual.h"
#include "server/settings.h"

namespace timeball::server {
namespace {

cli::Page daemon_page() {
  return {
      {"timeballd", 8},
      "NTP and NTS (RFC 8915) time server",
      "Answers NTP (RFC 5905) and NTP that NTS protects (RFC 8915) on every CPU, establishes keys "
      "over "
      "TLS 1.3, and tells clients how wrong its time may be. The time comes from the kernel's "
      "clock or "
      "from reference clocks: GNSS receivers, pulses, rubidium oscillators.\n\n"
      "It stays in the foreground and logs to standard error. systemd starts it as the user "
      "timeball; "
      "the operations manual in /usr/share/doc/timeball says what it needs for devices.",
      {{"SIGNALS",
        {{"SIGHUP",
          "Read the configuration again: what is reloadable takes effect, or, with any error, "
          "nothing "
          "(timeball reload does the same, and says whether it did)."},
         {"SIGTERM, SIGINT", "Finish what is begun, and end."}}},
       {"EXIT STATUS",
        {{"0", "Told to end."},
         {"1", "It could not start."},
         {"2", "The configuration is wrong."}}},
       {"ENVIRONMENT",
        {{"NOTIFY_SOCKET",
          "Where systemd is told of start, reload, end and progress (sd_notify(3))."},
         {"LISTEN_FDS", "With --clock-helper: the socket to serve at (sd_listen_fds(3))."},
         {"CREDENTIALS_DIRECTORY", "Where the files that settings call \"credential:NAME\" are."}}},
       {"FILES",
        {{"/etc/timeball/timeballd.toml", "The configuration: timeballd.toml(5)."},
         {"/var/lib/timeball/master-keys", "The master keys: timeball-keys(5)."},
         {"/run/timeball/control", "The socket for timeball(1)."},
         {"/run/timeballd-clock",
          "The socket of timeballd-clock.socket, for clock.helper: its service sets the clock."}}},
       {"SEE ALSO", {{"", "timeball(1), timeballd.toml(5), timeball-keys(5), ntsload(1)"}}}}};
}

cli::Manual settings_page() {
  cli::Manual manual = {
      {"NAME", {{"", "timeballd.toml - configuration of the time server timeballd"}}},
      {"DESCRIPTION",
       {{"",
         "TOML: sections in brackets, and in them lines of the form key = value. Every key has a "
         "default, "
         "which is shown here. [[refclock]] may stand several times, once for each reference "
         "clock. Times "
         "are texts such as \"250ms\", \"5s\", \"24h\" or \"7d\".\n\n"
         "timeballd --check reports all that is wrong with a file at once, each with its line; "
         "timeballd "
         "--print-config prints every setting, as TOML that can be edited. A change takes a "
         "restart unless "
         "it is said to take a reload."}}}};
  const cli::Manual sections = settings_sections_of_manual();
  manual.insert(manual.end(), sections.begin(), sections.end());
  manual.push_back({"SEE ALSO", {{"", "timeballd(8), timeball(1)"}}});
  return manual;
}

}  // namespace

void add_documents(CLI::App& app) {
  cli::add_documents(app, daemon_page());
  app.add_flag_callback(
         "--man-settings",
         [] {
           std::fputs(as_roff(settings_page(), {"timeballd.toml", 5}).c_str(), stdout);
           throw CLI::Success();
         })
      ->group("");
}

}  // namespace timeball::server
