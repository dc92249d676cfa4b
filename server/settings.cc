#include "server/settings.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "server/file.h"
#include "server/settings_check.h"
#include "server/settings_table.h"

namespace timeball::server {
namespace {

// ---- Names that are nearly right.

// Insertions, deletions, replacements and swaps of neighbours that turn a into b.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    before_last.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

// The known name nearest to a wrong one; empty when none is near.
std::string nearest(std::string_view wrong, const std::vector<std::string>& names) {
  if (wrong.size() > 64) return {};
  std::string best;
  std::size_t best_distance = wrong.size() / 4 + 2;
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(wrong, name);
    if (distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

std::string heading(const std::string& section) {
  return section == kRepeatedSection ? "[[" + section + "]]" : '[' + section + ']';
}

std::string shown(const std::string& name) {
  return name.size() > 64 ? "this long name" : quote_toml(name);
}

std::vector<std::string> keys_of(const std::string& section) {
  std::vector<std::string> keys;
  for (const Setting& setting : settings_table()) {
    if (setting.section == section) keys.push_back(setting.key);
  }
  return keys;
}

std::string unknown_key(const std::string& section, const std::string& key) {
  const std::string start = "unknown key " + shown(key) + " in " + heading(section) + "; ";
  const auto keys = keys_of(section);
  if (const auto near = nearest(key, keys); !near.empty()) {
    return start + "did you mean " + quote_toml(near) + '?';
  }
  for (const Setting& setting : settings_table()) {
    if (setting.key == key) return start + "it belongs in " + heading(setting.section);
  }
  return start + "it takes " + joined(keys);
}

std::string unknown_section(const TomlMember& member) {
  const auto& sections = settings_sections();
  if (!std::holds_alternative<TomlTable>(member.value.data) &&
      !std::holds_alternative<TomlArray>(member.value.data)) {
    return "the key " + shown(member.key) +
           " stands outside every section; put it below a line such as [ntp]";
  }
  const std::string start = "unknown section " + shown(member.key) + "; ";
  if (const auto near = nearest(member.key, sections); !near.empty()) {
    return start + "did you mean " + heading(near) + '?';
  }
  return start + "there are " + joined(sections);
}

// ---- Reading.

const Setting* find_setting(const std::string& section, const std::string& key) {
  for (const Setting& setting : settings_table()) {
    if (setting.section == section && setting.key == key) return &setting;
  }
  return nullptr;
}

void read_section(const std::string& section, const TomlTable& table, std::size_t index,
                  Draft& draft) {
  for (const TomlMember& member : table) {
    const Setting* setting = find_setting(section, member.key);
    if (setting == nullptr) {
      draft.error(member.line, unknown_key(section, member.key));
      continue;
    }
    draft.set_line(setting->path(), member.line);
    draft.set_line(section + '[' + std::to_string(index) + "]." + member.key, member.line);
    for (const Problem& problem : setting->read(member.value, draft.loaded.config, index)) {
      draft.error(problem.line, setting->path() + ": " + problem.message);
      draft.refuse(setting->path());
    }
  }
}

void read_repeated(const TomlMember& member, Draft& draft) {
  const auto* array = std::get_if<TomlArray>(&member.value.data);
  if (array == nullptr || array->empty()) {
    draft.error(member.line, "there may be several reference clocks; head each with [[" +
                                 member.key + "]], in double brackets");
    return;
  }
  auto& refclocks = draft.loaded.config.refclocks;
  refclocks.resize(array->size(), refclocks.front());
  for (std::size_t i = 0; i < array->size(); ++i) {
    const TomlValue& value = (*array)[i];
    draft.set_line(member.key + '[' + std::to_string(i) + ']', value.line);
    if (const auto* table = std::get_if<TomlTable>(&value.data)) {
      read_section(member.key, *table, i, draft);
    } else {
      draft.error(value.line, "found " + describe(value) +
                                  " among the reference clocks; head each "
                                  "with [[" +
                                  member.key + "]], in double brackets");
    }
  }
}

void read_document(const TomlTable& document, Draft& draft) {
  const auto& sections = settings_sections();
  for (const TomlMember& member : document) {
    if (std::find(sections.begin(), sections.end(), member.key) == sections.end()) {
      draft.error(member.line, unknown_section(member));
    } else if (member.key == kRepeatedSection) {
      read_repeated(member, draft);
    } else if (const auto* table = std::get_if<TomlTable>(&member.value.data)) {
      read_section(member.key, *table, 0, draft);
    } else {
      draft.error(member.line, "found " + describe(member.value) + "; head the section with [" +
                                   member.key + "], once, in single brackets");
    }
  }
}

std::string default_toml() {
  std::string toml;
  for (const Setting& setting : settings_table()) {
    if (toml.find(heading(setting.section)) == std::string::npos) {
      toml += heading(setting.section) + '\n';
    }
    toml += setting.key + " = " + setting.default_toml + '\n';
  }
  return toml;
}

// The table's defaults, read like any file.
Config default_config() {
  Draft draft("defaults");
  draft.loaded.config.refclocks.resize(1);
  const auto document = parse_toml(default_toml());
  assert(document);
  read_document(*document, draft);
  assert(draft.loaded.errors.empty());
  return draft.loaded.config;
}

void sort_by_line(std::vector<ConfigError>& errors) {
  std::stable_sort(errors.begin(), errors.end(),
                   [](const auto& a, const auto& b) { return a.line < b.line; });
}

Draft read_config(std::string_view toml, const std::string& file_name) {
  Draft draft(file_name);
  draft.loaded.config = default_config();
  const auto document = parse_toml(toml);
  if (!document) {
    draft.error(document.error().line, document.error().message);
    draft.refuse_all();
    return draft;
  }
  read_document(*document, draft);
  check_combinations(draft);
  return draft;
}

LoadedConfig finished(Draft draft) {
  sort_by_line(draft.loaded.errors);
  sort_by_line(draft.loaded.warnings);
  return std::move(draft.loaded);
}

// ---- Printing.

// Two lines: the help; type, range, unit, default, and what a change needs.
std::string comment(const Setting& setting) {
  std::string out = "# " + std::string(setting.help) + "\n#   " + setting.type;
  if (!setting.range.empty()) out += ", " + setting.range;
  if (!setting.unit.empty()) out += ", " + std::string(setting.unit);
  out += "; default " + setting.default_toml;
  return out + (setting.reload == Reload::kReload ? "; reloadable\n" : "; needs a restart\n");
}

std::string print_section(const Config& config, const std::string& section, std::size_t index) {
  std::string out = heading(section) + '\n';
  for (const Setting& setting : settings_table()) {
    if (setting.section != section || !setting.applies(config, index)) continue;
    if (index == 0) out += comment(setting);
    out += setting.key + " = " + setting.write(config, index) + '\n';
  }
  return out;
}

// A cell of a Markdown table.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

cli::ManualEntry entry_of(const Setting& setting) {
  std::string text = std::string(setting.help) + ". (" + setting.type;
  if (!setting.range.empty()) text += ", " + setting.range;
  if (!setting.unit.empty()) text += ", " + std::string(setting.unit);
  text += ")";
  if (setting.reload == Reload::kReload) text += " A reload puts a change in force.";
  return {setting.key + " = " + setting.default_toml, text};
}

}  // namespace

std::string ConfigError::to_string() const {
  if (line == 0) return file + ": " + message;
  return file + ':' + std::to_string(line) + ": " + message;
}

LoadedConfig parse_config(std::string_view toml, const std::string& file_name) {
  return finished(read_config(toml, file_name));
}

LoadedConfig load_config(const std::string& path) {
  const auto toml = read_whole_file(path);
  if (!toml) {
    Draft draft(path);
    draft.error(0, toml.error().message);
    return finished(std::move(draft));
  }
  Draft draft = read_config(*toml, path);
  check_files(draft);
  return finished(std::move(draft));
}

std::string print_config(const Config& config) {
  std::string out;
  for (const std::string& section : settings_sections()) {
    const std::size_t count = section == kRepeatedSection ? config.refclocks.size() : 1;
    for (std::size_t i = 0; i < count; ++i) {
      if (!out.empty()) out += '\n';
      out += print_section(config, section, i);
    }
  }
  return out;
}

std::vector<SettingInForce> settings_in_force(const Config& config) {
  static const Config kDefaults = default_config();
  std::vector<SettingInForce> all;
  for (const std::string& section : settings_sections()) {
    const std::size_t count = section == kRepeatedSection ? config.refclocks.size() : 1;
    for (std::size_t i = 0; i < count; ++i) {
      for (const Setting& setting : settings_table()) {
        if (setting.section != section || !setting.applies(config, i)) continue;
        std::string value = setting.write(config, i);
        const bool is_default = value == setting.write(kDefaults, 0);
        all.push_back({section, i, setting.key, std::move(value), is_default,
                       setting.reload == Reload::kReload, setting.help});
      }
    }
  }
  return all;
}

std::vector<SettingChange> changes(const Config& from, const Config& to) {
  std::vector<SettingChange> found;
  for (const Setting& setting : settings_table()) {
    const bool repeated = setting.section == kRepeatedSection;
    const std::size_t count = repeated ? std::min(from.refclocks.size(), to.refclocks.size()) : 1;
    for (std::size_t i = 0; i < count; ++i) {
      std::string before = setting.write(from, i);
      std::string after = setting.write(to, i);
      if (before == after) continue;
      found.push_back(
          {setting.path(), std::move(before), std::move(after), setting.reload == Reload::kReload});
    }
  }
  return found;
}

std::string settings_manual() {
  std::string out =
      "| Setting | Type | Range | Unit | Default | Change needs | Meaning |\n"
      "|---|---|---|---|---|---|---|\n";
  for (const Setting& setting : settings_table()) {
    out += "| `" + heading(setting.section) + ' ' + setting.key + "` | " + cell(setting.type) +
           " | " + cell(setting.range) + " | " + cell(setting.unit) + " | `" +
           cell(setting.default_toml) + "` | " +
           (setting.reload == Reload::kReload ? "reload" : "restart") + " | " + cell(setting.help) +
           " |\n";
  }
  return out;
}

cli::Manual settings_sections_of_manual() {
  cli::Manual manual;
  for (const std::string& name : settings_sections()) {
    cli::ManualSection section{heading(name), {}};
    for (const Setting& setting : settings_table()) {
      if (setting.section == name) section.entries.push_back(entry_of(setting));
    }
    manual.push_back(std::move(section));
  }
  return manual;
}

}  // namespace timeball::server
