// What no single row of the settings table can see: settings that contradict each other, and the
// files they name. Inside of server/settings*.cc; others use server/settings.h.
#pragma once

#include <map>
#include <set>
#include <string>

#include "server/settings.h"

namespace timeball::server {

// A configuration being read.
class Draft {
 public:
  explicit Draft(std::string file) : file_(std::move(file)) {}

  LoadedConfig loaded;

  void error(unsigned line, std::string message) {
    loaded.errors.push_back({file_, line, std::move(message)});
  }
  // About a setting ("ntp.listen") or, where sections repeat, one of them ("refclock[1]"): says the
  // name, on its line where it has one.
  void error(const std::string& path, const std::string& message) {
    error(line_of(path), path + ": " + message);
  }
  void warning(const std::string& path, const std::string& message) {
    loaded.warnings.push_back({file_, line_of(path), path + ": " + message});
  }

  // Whether the file has it.
  bool given(const std::string& path) const { return lines_.contains(path); }
  void set_line(const std::string& path, unsigned line) { lines_.emplace(path, line); }
  // The value in the file could not be read: the default stands in its place and needs no check.
  void refuse(const std::string& path) { refused_.insert(path); }
  void refuse_all() { all_refused_ = true; }
  bool refused(const std::string& path) const { return all_refused_ || refused_.contains(path); }

 private:
  unsigned line_of(const std::string& path) const {
    const auto found = lines_.find(path);
    return found == lines_.end() ? 0 : found->second;
  }

  std::string file_;
  std::map<std::string, unsigned> lines_;
  std::set<std::string> refused_;
  bool all_refused_ = false;
};

// Pure.
void check_combinations(Draft& draft);
// Looks at the certificates, their keys and the directory of the key file, and at the date.
void check_files(Draft& draft);

}  // namespace timeball::server
