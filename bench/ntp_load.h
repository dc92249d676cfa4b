// The threads of the NTP load: shots of a given rate or window, one after another, with the same
// sockets, associations and memory. Main thread.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "bench/cpu_meter.h"
#include "bench/load_progress.h"
#include "bench/ntp_gun.h"
#include "bench/xdp_path.h"

namespace timeball::bench {

struct NtpShot {
  double rate = 0;         // open loop, per second; 0: closed loop
  std::size_t window = 0;  // closed loop: requests always under way
  Duration warm_up{};      // load before what is measured
  Duration duration{};     // what is measured
};

// What a shot found.
struct NtpHit {
  NtpTally tally;
  double seconds = 0;
  std::vector<TimelinePoint> timeline;
};

class NtpLoad {
 public:
  // Associations are dealt out to the threads in turn; requires one for each when the mix needs
  // them. Fails when a gun cannot be made.
  static Result<std::unique_ptr<NtpLoad>> make(const NtpGunOptions& options, unsigned threads,
                                               const std::vector<KeAssociation>& associations);

  // Fails when the server whose CPU time is measured is not there.
  Result<std::unique_ptr<NtpHit>> shoot(const NtpShot& shot, CpuMeter& meter, Progress& progress);

 private:
  std::unique_ptr<XdpPath> path_;
  std::vector<std::unique_ptr<NtpGun>> guns_;
};

}  // namespace timeball::bench
