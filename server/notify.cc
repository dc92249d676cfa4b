#include "server/notify.h"

#include <systemd/sd-daemon.h>

#include <algorithm>

#include "server/clocks.h"

namespace timeball::server {
namespace {

constexpr unsigned kTicksPerStatus = 10;

// What cannot be told is not worth a word: the service manager notices by itself.
void tell(const std::string& text) {
  (void)sd_notify(0, text.c_str());
}

}  // namespace

bool ProgressWatch::all_moved(const std::vector<std::uint64_t>& turns) {
  last_.resize(turns.size());
  if (!std::ranges::equal(turns, last_, std::ranges::greater())) return false;
  last_ = turns;
  return true;
}

void Notifier::ready(const std::string& status) {
  tell("READY=1\nSTATUS=" + status);
}

void Notifier::reloading() {
  tell("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(read_monotonic_time().ns / 1000));
}

void Notifier::stopping() {
  tell("STOPPING=1\nSTATUS=stopping");
}

void Notifier::tick(const std::function<std::string()>& status,
                    const std::vector<std::uint64_t>& turns) {
  if (progress_.all_moved(turns)) tell("WATCHDOG=1");
  if (++ticks_ % kTicksPerStatus == 0) tell("STATUS=" + status());
}

}  // namespace timeball::server
