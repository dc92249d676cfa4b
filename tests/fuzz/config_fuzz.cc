// Any octets as a configuration file: every error has a sentence and a line of the file, and what
// is taken without error survives being printed and read again.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "server/settings.h"

namespace {

using timeball::server::LoadedConfig;

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view toml(reinterpret_cast<const char*>(data), size);
  const LoadedConfig loaded = timeball::server::parse_config(toml, "fuzz");

  const auto lines = 1 + std::count(toml.begin(), toml.end(), '\n');
  for (const auto& error : loaded.errors) {
    require(!error.message.empty());
    require(error.line <= lines + 1);
  }
  require(std::is_sorted(loaded.errors.begin(), loaded.errors.end(),
                         [](const auto& a, const auto& b) { return a.line < b.line; }));
  if (!loaded.errors.empty()) return 0;

  const std::string printed = print_config(loaded.config);
  const LoadedConfig again = timeball::server::parse_config(printed, "printed");
  require(again.errors.empty());
  require(again.config == loaded.config);
  return 0;
}
