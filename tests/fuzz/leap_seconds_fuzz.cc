// Any octets as a leap-seconds.list: refused in one line, or a table whose every entry follows from
// the one before and which answers for every time.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "refclock/leap_seconds.h"

namespace {

using namespace timeball;

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto table = refclock::parse_leap_seconds(text);
  if (!table) {
    require(table.error().message.starts_with("leap seconds"));
    require(table.error().message.find('\n') == std::string::npos);
    return 0;
  }
  require(!table->entries.empty());
  int offset = table->entries.front().tai_minus_utc_s;
  for (std::size_t i = 1; i < table->entries.size(); ++i) {
    const auto& entry = table->entries[i];
    const int change = entry.tai_minus_utc_s - offset;
    require(entry.from > table->entries[i - 1].from && (change == 1 || change == -1));
    const refclock::LeapNotice notice = leap_notice(*table, entry.from);
    require(notice.tai_minus_utc_s == entry.tai_minus_utc_s);
    offset = entry.tai_minus_utc_s;
  }
  return 0;
}
