#include "bench/load_progress.h"

#include <spdlog/fmt/fmt.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "common/time/duration_text.h"

namespace timeball::bench {

Progress::Progress() : Progress(::isatty(STDERR_FILENO) == 1) {}
Progress::Progress(bool terminal) : terminal_(terminal) {}

void Progress::show(const TimelinePoint& now, double total) {
  say(progress_line(now, total));
}

void Progress::say(const std::string& text) {
  if (!terminal_) return;
  std::fprintf(stderr, "\r\x1b[K%s", text.c_str());  // K: erase to the end of the line
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (!shown_) return;
  std::fputs("\r\x1b[K", stderr);
  shown_ = false;
}

std::string progress_line(const TimelinePoint& now, double total) {
  return fmt::format("{:.0f} of {:.0f} s  {:.0f}/s  loss {:.2f} %  p50 {}  p99 {}  {:.0f} s left",
                     now.seconds, total, now.done_per_second, 100 * now.loss,
                     duration_text(now.p50), duration_text(now.p99),
                     std::max(0.0, total - now.seconds));
}

}  // namespace timeball::bench
