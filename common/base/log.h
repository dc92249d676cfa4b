// Log lines go through spdlog's default logger, as text or as one JSON object a line, on stderr.
//
// Anything a packet or a connection can trigger must pass a LogLimiter first.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace timeball {

enum class LogFormat { kText, kJson };

// Sets up the default logger. level: spdlog's names ("trace" .. "critical", "off").
void set_up_log(std::string_view level, LogFormat format);

// At most `burst` lines, refilled at one line each `interval`. One thread.
class LogLimiter {
 public:
  explicit LogLimiter(std::chrono::nanoseconds interval = std::chrono::seconds(10),
                      unsigned burst = 5)
      : interval_(interval), burst_(burst), tokens_(burst) {}

  // Whether a line may be written now; `now` counts from any fixed origin and never goes back.
  bool admit(std::chrono::nanoseconds now);
  // How many lines were refused between the last two that were admitted.
  std::uint64_t suppressed() const { return reported_; }

 private:
  std::chrono::nanoseconds interval_;
  unsigned burst_;
  unsigned tokens_;
  std::chrono::nanoseconds refilled_{};
  std::uint64_t suppressed_ = 0;
  std::uint64_t reported_ = 0;
};

}  // namespace timeball
