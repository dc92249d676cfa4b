#include "server/readiness.h"

#include <spdlog/fmt/fmt.h>

#include <utility>

#include "server/alarms.h"

namespace timeball::server {

std::string why_unfit(const Snapshot& snapshot, Duration bound) {
  for (const AlarmKind& kind : alarm_kinds()) {
    if (kind.unfit && kind.raised(snapshot).value_or(false)) {
      return fmt::format("{}: {}", kind.name, kind.meaning);
    }
  }
  const auto seconds = [](Duration d) { return std::chrono::duration<double>(d).count(); };
  const std::optional<Duration> known = error_bound_of(snapshot);
  if (snapshot.shards.empty() || !known || *known <= bound) return {};
  return fmt::format("the error bound is {:.6f} s, over admin.ready_bound ({:.6f} s)",
                     seconds(*known), seconds(bound));
}

void Readiness::update(std::string why, MonotonicTime now) {
  const bool ready = why_not_.empty();
  if (ready == why.empty()) {
    differs_.reset();
    why_not_ = std::move(why);  // the newest reason
    return;
  }
  if (!differs_) differs_ = now;
  const Duration needed = ready ? kPatience : started_ ? kProbation : Duration{};
  if (now - *differs_ < needed) {
    if (!ready) why_not_ = "it was not fit a moment ago";
    return;
  }
  differs_.reset();
  why_not_ = std::move(why);
  started_ = started_ || why_not_.empty();
}

}  // namespace timeball::server
