// Changes CLOCK_REALTIME, by clock_adjtime(2): its frequency, its phase, and what the kernel tells
// others of it. Takes CAP_SYS_TIME, here or in whom it asks (remote_clock.h). Needs Linux 5.0,
// where a frequency that is set is in force when the call returns. Who uses it: KernelSteering; its
// thread.
//
// The call is a function that is handed in: tests hand their own kernel, and the code here runs
// against that. No test touches the real clock, nor can one: so that the real kernel does what
// adjtimex(2) says is shown by no end-to-end test.
#pragma once

#include <sys/timex.h>

#include <functional>

#include "refclock/steering.h"

namespace timeball::refclock {

class KernelClockControl {
 public:
  // As clock_adjtime(CLOCK_REALTIME, ...): the clock's state (TIME_*), or -1 and errno.
  using Adjust = std::function<int(timex* t)>;
  static Adjust kernel();

  // Takes the clock over: whatever else slews it (the kernel's own loop, adjtime(3), a tick that is
  // not nominal) ends, and it is unsynchronised until set_status(). Its frequency stays. Throws
  // std::runtime_error with one sentence when that is not permitted.
  explicit KernelClockControl(Adjust adjust);

  // Scaled (kScaledPpm); nothing when the call fails.
  std::optional<std::int64_t> frequency() const;
  // False: nothing was changed.
  bool set_frequency(std::int64_t scaled);
  bool step(Duration by);
  bool set_status(const KernelStatus& status);

 private:
  bool call(timex t) const { return adjust_(&t) >= 0; }

  Adjust adjust_;
};

}  // namespace timeball::refclock
