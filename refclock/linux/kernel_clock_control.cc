#include "refclock/linux/kernel_clock_control.h"

#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace timeball::refclock {
namespace {

long microseconds_up(Duration d) {
  constexpr Duration kMost = std::chrono::seconds(16);  // where the kernel itself ends
  return static_cast<long>((std::min(d, kMost).count() + 999) / 1000);
}

}  // namespace

KernelClockControl::Adjust KernelClockControl::kernel() {
  return [](timex* t) { return clock_adjtime(CLOCK_REALTIME, t); };
}

KernelClockControl::KernelClockControl(Adjust adjust) : adjust_(std::move(adjust)) {
  timex loop{};  // its loop has an offset left: none, then
  loop.modes = ADJ_STATUS | ADJ_OFFSET | ADJ_TICK;
  loop.status = STA_PLL | STA_UNSYNC;
  loop.tick = 1'000'000 / sysconf(_SC_CLK_TCK);
  timex rest{};  // of adjtime(3)
  rest.modes = ADJ_OFFSET_SINGLESHOT;
  timex status{};
  status.modes = ADJ_STATUS;
  status.status = STA_UNSYNC;
  if (call(loop) && call(rest) && call(status)) return;
  if (errno == EPERM) {
    throw std::runtime_error(
        "clock.mode = \"system\" needs CAP_SYS_TIME: name clock.helper, grant it, or set mode to "
        "\"software\"");
  }
  throw std::runtime_error("clock.mode = \"system\": clock_adjtime: " +
                           std::generic_category().message(errno));
}

std::optional<std::int64_t> KernelClockControl::frequency() const {
  timex t{};
  if (adjust_(&t) < 0) return std::nullopt;
  return t.freq;
}

bool KernelClockControl::set_frequency(std::int64_t scaled) {
  timex t{};
  t.modes = ADJ_FREQUENCY;
  t.freq = static_cast<long>(scaled);
  return call(t);
}

bool KernelClockControl::step(Duration by) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(by);
  timex t{};
  t.modes = ADJ_SETOFFSET | ADJ_NANO;
  t.time.tv_sec = static_cast<time_t>(whole.count());
  t.time.tv_usec = static_cast<suseconds_t>((by - whole).count());  // ns, and never negative
  return call(t);
}

bool KernelClockControl::set_status(const KernelStatus& status) {
  timex t{};
  t.modes = ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR;
  t.maxerror = microseconds_up(status.most_error);
  t.esterror = microseconds_up(status.estimated_error);
  if (status.leap == LeapIndicator::kInsert) t.status = STA_INS;
  if (status.leap == LeapIndicator::kDelete) t.status = STA_DEL;
  if (status.tai_minus_utc_s) {
    t.modes |= ADJ_TAI;
    t.constant = *status.tai_minus_utc_s;
  }
  return call(t);
}

}  // namespace timeball::refclock
