// The rows of the settings table. Inside of server/settings*.cc; others use server/settings.h.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "server/config.h"
#include "server/settings_toml.h"

namespace timeball::server {

enum class Reload { kRestart, kReload };  // what it takes to change the setting

// One configuration key. `index` tells apart the sections that may repeat; 0 for all others.
struct Setting {
  std::string section;
  std::string key;
  std::string type;          // "list of IP:PORT"
  std::string range;         // "0 to 1024"; empty when the type says it all
  std::string default_toml;  // as it would stand in the file
  std::string_view unit;
  Reload reload = Reload::kRestart;
  std::string_view help;  // a phrase
  // The drivers of [[refclock]] that it is for; none: it is for all.
  std::vector<RefclockDriver> drivers;

  // Sets the member, or returns what is wrong with the value and leaves the member alone.
  std::function<std::vector<Problem>(const TomlValue&, Config&, std::size_t index)> read;
  // The member as TOML.
  std::function<std::string(const Config&, std::size_t index)> write;

  std::string path() const { return section + '.' + key; }
  // Whether that section of a configuration has any use for it.
  bool applies(const Config& config, std::size_t index) const;
};

// The section that may repeat: [[refclock]].
inline constexpr std::string_view kRepeatedSection = "refclock";

// "gnss".
std::string_view name_of(RefclockDriver driver);

// Section by section, in the order of the manual.
const std::vector<Setting>& settings_table();
// The sections' names, in that order.
const std::vector<std::string>& settings_sections();

}  // namespace timeball::server
