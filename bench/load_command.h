// The form of ntsload's commands. main() parses the common options, finds the target, runs the
// command and writes its report; a command adds its own options and makes the load.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "bench/load_options.h"
#include "bench/load_progress.h"
#include "bench/load_report.h"
#include "bench/load_target.h"
#include "common/base/error.h"

namespace timeball::bench {

class LoadCommand {
 public:
  virtual ~LoadCommand() = default;

  virtual std::string_view name() const = 0;         // "ke"
  virtual std::string_view summary() const = 0;      // a line of the manual, without a full stop
  virtual std::string_view description() const = 0;  // paragraphs, an empty line between two
  virtual void add_options(CLI::App& app) = 0;
  // After the command line is parsed: what does not fit together, in one line that says what to do.
  virtual Result<void> check(const CommonOptions&) const { return {}; }
  virtual std::uint16_t default_port() const = 0;
  // Blocks until the load is over. Fills in all of the report but mode and target. An error is this
  // machine's, or NTS-KE that gave the load nothing to start with.
  virtual Result<LoadReport> run(const CommonOptions& options, const LoadTarget& target,
                                 Progress& progress) = 0;
};

std::unique_ptr<LoadCommand> make_ke_command();
std::unique_ptr<LoadCommand> make_ntp_command();

}  // namespace timeball::bench
