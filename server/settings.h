// The settings table: one row for every configuration key, and everything made from it: the parser,
// --check, --print-config and the manual's table.
//
// Cold path: start and reload. All errors of a file are reported together, each with its line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/cli/manual.h"
#include "server/config.h"

namespace timeball::server {

// One thing wrong with a configuration, for a person.
struct ConfigError {
  std::string file;
  unsigned line = 0;  // 0: the file as a whole
  std::string message;

  std::string to_string() const;  // "FILE:LINE: message"
};

struct LoadedConfig {
  Config config;                    // defaults where nothing was said; valid only without errors
  std::vector<ConfigError> errors;  // in line order
  std::vector<ConfigError> warnings;
};

// Parses, and checks types, ranges, combinations (two listeners on one address, an empty AEAD list,
// a public admin listener is a warning ...). Reads no other file.
LoadedConfig parse_config(std::string_view toml, const std::string& file_name);
// parse_config over the file, plus the checks that need the file system: certificate and key
// readable, matching, not expired; key file's directory there. Those errors carry the setting's
// line too.
LoadedConfig load_config(const std::string& path);

// The configuration as commented TOML: every key with its help, unit, range and whether it is
// reloadable; loading the text gives the same configuration.
std::string print_config(const Config& config);
// One setting as it is, its value as TOML. No setting holds a secret: those that need one name a
// file.
struct SettingInForce {
  std::string section;
  std::size_t index = 0;  // of the section that may repeat
  std::string key;
  std::string value;
  bool is_default = false;
  bool reloadable = false;  // takes effect without a restart
  std::string_view help;
};
std::vector<SettingInForce> settings_in_force(const Config& config);
// One setting whose value differs between two configurations, both values as TOML.
struct SettingChange {
  std::string path;
  std::string from;
  std::string to;
  bool reloadable = false;  // takes effect without a restart
};
std::vector<SettingChange> changes(const Config& from, const Config& to);
// The manual's table, in Markdown.
std::string settings_manual();
// The same as sections of the man page.
cli::Manual settings_sections_of_manual();

}  // namespace timeball::server
