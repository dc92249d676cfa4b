#include "refclock/linux/pps_device.h"

#include <fcntl.h>
#include <linux/pps.h>
#include <linux/tty.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "common/time/ntp_timestamp.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;

static_assert(PPS_GETPARAMS == 0x800870a1 && PPS_SETPARAMS == 0x400870a2 &&
                  PPS_GETCAP == 0x800870a3 && PPS_FETCH == 0xc00870a4,
              "64 bit: these macros have the size of a pointer in them");
static_assert(sizeof(pps_kinfo) == 48 && sizeof(pps_fdata) == 64 && sizeof(pps_kparams) == 40);

constexpr auto kFresh = 1500ms;      // a pulse older than this is not the last one
constexpr auto kPollInterval = 5ms;  // of a device that cannot wait
constexpr unsigned kMostPpsDevices = 64;
// Between two readings no more pulses are missed than this: it is another count.
constexpr std::uint32_t kMostMissed = 1U << 31;

int capture_bit(Edge edge) {
  return edge == Edge::kAssert ? PPS_CAPTUREASSERT : PPS_CAPTURECLEAR;
}
Edge other(Edge edge) {
  return edge == Edge::kAssert ? Edge::kClear : Edge::kAssert;
}

KernelTime time_of(const pps_ktime& t) {
  return {t.sec * kNsPerSecond + t.nsec};
}

bool is_fake(const SystemCalls& calls, const std::string& path) {
  const std::string real = calls.real_path(path);
  const std::string name = real.substr(real.rfind('/') + 1);
  return read_line(calls, "/sys/class/pps/" + name + "/name") == "ktimer";
}

// Both edges where the device can, ours at least; the mode that is then in force.
Result<int> set_mode(const DeviceFile& file, const PpsDevice::Options& options) {
  int capabilities = 0;
  if (file.ioctl(PPS_GETCAP, &capabilities) < 0) {
    return fail(errno_message(options.path, "not a PPS device"));
  }
  const int wanted = capture_bit(options.edge) | PPS_TSFMT_TSPEC;
  if ((capabilities & wanted) != wanted) {
    return fail(options.path + ": cannot capture this edge: configure the other one");
  }
  pps_kparams params{};
  if (file.ioctl(PPS_GETPARAMS, &params) < 0) {
    return fail(errno_message(options.path, "PPS_GETPARAMS"));
  }
  const int mode = params.mode | wanted | (capabilities & capture_bit(other(options.edge)));
  if (mode != params.mode) {
    params.api_version = PPS_API_VERS;
    params.mode = mode;
    if (file.ioctl(PPS_SETPARAMS, &params) < 0) {
      return fail(errno_message(options.path, "PPS_SETPARAMS, which needs CAP_SYS_TIME"));
    }
  }
  return mode | (capabilities & PPS_CANWAIT);
}

}  // namespace

PpsDevice::PpsDevice(DeviceFile file, const Options& options, int mode)
    : file_(std::move(file)),
      options_(options),
      mode_(mode),
      clock_(file_.calls(), options.most_slew_ppm) {}

Result<PpsDevice> PpsDevice::open(const SystemCalls& calls, const Options& options) {
  DeviceFile file(calls, calls.open(options.path.c_str(), O_RDWR));
  if (file.get() < 0) return fail(errno_message(options.path, "cannot open"));
  if (!options.simulated && is_fake(calls, options.path)) {
    return fail(options.path +
                ": is the kernel's ktimer, no pulse of a clock: name another device");
  }
  const auto mode = set_mode(file, options);
  if (!mode) return fail(mode.error().message);
  PpsDevice device(std::move(file), options, *mode);
  // Whatever it has seen before is not ours.
  if (device.fetch_stamps(0s, device.last_) < 0) {
    return fail(errno_message(options.path, "PPS_FETCH"));
  }
  return device;
}

// 0, or -1 and errno. A timeout of 0 gives what there is.
int PpsDevice::fetch_stamps(Duration timeout, Stamps& stamps) const {
  pps_fdata data{};
  data.timeout.sec = timeout.count() / kNsPerSecond;
  data.timeout.nsec = static_cast<std::int32_t>(timeout.count() % kNsPerSecond);
  if (file_.ioctl(PPS_FETCH, &data) < 0) return -1;
  const Stamp assert_stamp{data.info.assert_sequence, time_of(data.info.assert_tu)};
  const Stamp clear_stamp{data.info.clear_sequence, time_of(data.info.clear_tu)};
  const bool asserts = options_.edge == Edge::kAssert;
  stamps = {asserts ? assert_stamp : clear_stamp, asserts ? clear_stamp : assert_stamp};
  return 0;
}

// Until our edge is a new one: the device wakes for either.
int PpsDevice::wait_stamps(Duration timeout, Stamps& stamps) const {
  const HostTime end = clock_.now() + timeout;
  const bool can_wait = (mode_ & PPS_CANWAIT) != 0;
  while (true) {
    const Duration left = end - clock_.now();
    if (left <= 0s) {
      errno = ETIMEDOUT;
      return -1;
    }
    if (fetch_stamps(can_wait ? left : 0s, stamps) < 0) return -1;
    if (stamps.ours.sequence != last_.ours.sequence) return 0;
    if (!can_wait) file_.calls().sleep(std::min<Duration>(left, kPollInterval));
  }
}

PulseReading PpsDevice::fetch(Duration timeout) {
  Stamps stamps;
  if (wait_stamps(timeout, stamps) == 0) return take(stamps);
  using Outcome = PulseReading::Outcome;
  if (errno == EINTR) return {Outcome::kInterrupted, {}, errno};
  if (errno != ETIMEDOUT && errno != EAGAIN) return {Outcome::kGone, {}, errno};
  ++counts_.timeouts;
  clock_.refresh();
  return {Outcome::kNone, {}, ETIMEDOUT};
}

PulseReading PpsDevice::take(const Stamps& stamps) {
  using Outcome = PulseReading::Outcome;
  const std::uint32_t step = stamps.ours.sequence - last_.ours.sequence;
  if (step < kMostMissed) counts_.missed += step - 1;
  const bool wrong = wrong_edge(stamps);
  last_ = stamps;
  const auto instant = clock_.convert(stamps.ours.time);
  if (!instant) {
    ++counts_.clock_steps;
    return {Outcome::kClockStepped, {}, 0};
  }
  if (clock_.now() - instant->at > kFresh) {
    ++counts_.stale;
    return {Outcome::kStale, {}, 0};
  }
  if (wrong) {
    ++counts_.wrong_edge;
    return {Outcome::kWrongEdge, {}, 0};
  }
  ++counts_.pulses;
  return {Outcome::kPulse, {options_.input, instant->at, instant->error, stamps.ours.sequence}, 0};
}

// Ours comes after the other edge: by less than half a second when the other one led. Devices that
// never fill the other edge tell nothing.
bool PpsDevice::wrong_edge(const Stamps& stamps) {
  if (stamps.other.sequence == last_.other.sequence) return false;
  const Duration since = stamps.ours.time - stamps.other.time;
  if (since <= 0s || since >= 1s) return false;
  const bool wrong = since < 500ms;
  width_ = wrong ? since : 1s - since;
  return wrong;
}

Result<PpsTty> attach_pps_line_discipline(const SystemCalls& calls, const std::string& tty_path) {
  DeviceFile tty(calls, calls.open(tty_path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK));
  if (tty.get() < 0) return fail(errno_message(tty_path, "cannot open"));
  int discipline = N_PPS;
  if (tty.ioctl(TIOCSETD, &discipline) < 0) {
    return fail(errno_message(tty_path, "no PPS line discipline (modprobe pps_ldisc)"));
  }
  const std::string real = calls.real_path(tty_path);
  for (unsigned i = 0; i < kMostPpsDevices; ++i) {
    const std::string name = "pps" + std::to_string(i);
    if (read_line(calls, "/sys/class/pps/" + name + "/path") == real) {
      return PpsTty{std::move(tty), "/dev/" + name};
    }
  }
  return fail(tty_path + ": has the PPS line discipline, but no /dev/ppsN appeared for it");
}

}  // namespace timeball::refclock
