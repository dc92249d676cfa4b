#include "refclock/linux/phc_device.h"

#include <fcntl.h>
#include <linux/ptp_clock.h>

#include <array>
#include <cerrno>
#include <chrono>

#include "common/time/ntp_timestamp.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;

static_assert(PTP_CLOCK_GETCAPS == 0x80503d01 && PTP_EXTTS_REQUEST2 == 0x40103d0b &&
              PTP_PIN_SETFUNC == 0x40603d07 && PTP_SYS_OFFSET_PRECISE == 0xc0403d08 &&
              PTP_SYS_OFFSET_EXTENDED == 0xc4c03d09);
static_assert(sizeof(ptp_extts_event) == 32 && sizeof(ptp_sys_offset_extended) == 1216);

constexpr unsigned kSamples = 25;
// The device's clock may run so much faster or slower than ours between a pulse and its conversion.
constexpr std::int64_t kMostRatePpm = 200;
constexpr auto kFresh = 1500ms;
constexpr unsigned kMostQueued = 1024;  // events that a queue may hold before we arm
constexpr std::size_t kEventsPerRead = 16;

std::int64_t ns_of(const ptp_clock_time& t) {
  return t.sec * kNsPerSecond + t.nsec;
}

Result<void> configure_pin(const DeviceFile& file, const PhcDevice::Options& options) {
  if (!options.pin) return {};
  ptp_pin_desc pin{};
  pin.index = *options.pin;
  pin.func = PTP_PF_EXTTS;
  pin.chan = options.channel;
  if (file.ioctl(PTP_PIN_SETFUNC, &pin) < 0) {
    return fail(errno_message(options.path, "cannot make pin " + std::to_string(*options.pin) +
                                                " an input of channel " +
                                                std::to_string(options.channel)));
  }
  return {};
}

// Old devices and kernels know no STRICT: then both edges may come, and take() tells them apart.
Result<void> request(const DeviceFile& file, const PhcDevice::Options& options, unsigned flags) {
  ptp_extts_request wanted{};
  wanted.index = options.channel;
  wanted.flags = flags;
  if (flags != 0) wanted.flags |= PTP_STRICT_FLAGS;
  if (file.ioctl(PTP_EXTTS_REQUEST2, &wanted) == 0) return {};
  wanted.flags = flags;
  if (file.ioctl(PTP_EXTTS_REQUEST, &wanted) == 0) return {};
  return fail(errno_message(
      options.path, "no external timestamps on channel " + std::to_string(options.channel)));
}

void drain(const DeviceFile& file) {
  std::array<ptp_extts_event, kEventsPerRead> events{};
  for (unsigned i = 0; i < kMostQueued && file.calls().poll_in(file.get(), 0) > 0; ++i) {
    if (file.calls().read(file.get(), events.data(), sizeof events) <= 0) return;
  }
}

// Kernels before 6.12 take these samples in CLOCK_REALTIME only, and refuse any other clock.
PhcDevice::Method method_of(const DeviceFile& file, const ptp_clock_caps& caps) {
  if (caps.cross_timestamping != 0) {
    ptp_sys_offset_precise offset{};
    if (file.ioctl(PTP_SYS_OFFSET_PRECISE, &offset) == 0) return PhcDevice::Method::kPrecise;
  }
  ptp_sys_offset_extended offset{};
  offset.n_samples = 1;
  offset.rsv[0] = CLOCK_MONOTONIC_RAW;
  return file.ioctl(PTP_SYS_OFFSET_EXTENDED, &offset) == 0 ? PhcDevice::Method::kExtendedRaw
                                                           : PhcDevice::Method::kExtendedRealtime;
}

}  // namespace

Result<PhcDevice> PhcDevice::open(const SystemCalls& calls, const Options& options) {
  DeviceFile file(calls, calls.open(options.path.c_str(), O_RDWR));
  if (file.get() < 0) return fail(errno_message(options.path, "cannot open"));
  ptp_clock_caps caps{};
  if (file.ioctl(PTP_CLOCK_GETCAPS, &caps) < 0) {
    return fail(errno_message(options.path, "not a PTP hardware clock"));
  }
  if (std::cmp_greater_equal(options.channel, caps.n_ext_ts)) {
    return fail(options.path + ": has " + std::to_string(caps.n_ext_ts) +
                " channels for external timestamps: there is no channel " +
                std::to_string(options.channel));
  }
  if (auto done = configure_pin(file, options); !done) return fail(done.error().message);
  if (auto done = request(file, options, 0); !done) return fail(done.error().message);
  drain(file);
  const unsigned edge = options.edge == Edge::kAssert ? PTP_RISING_EDGE : PTP_FALLING_EDGE;
  if (auto done = request(file, options, PTP_ENABLE_FEATURE | edge); !done) {
    return fail(done.error().message);
  }
  const Method method = method_of(file, caps);
  return PhcDevice(std::move(file), options, method);
}

PulseReading PhcDevice::fetch(Duration timeout) {
  using Outcome = PulseReading::Outcome;
  const HostTime end = clock_.now() + timeout;
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - clock_.now());
    const int ready =
        left > 0ms ? file_.calls().poll_in(file_.get(), static_cast<int>(left.count())) : 0;
    if (ready == 0) {
      ++counts_.timeouts;
      clock_.refresh();
      return {Outcome::kNone, {}, ETIMEDOUT};
    }
    ptp_extts_event event{};
    const ssize_t length = ready < 0 ? -1 : file_.calls().read(file_.get(), &event, sizeof event);
    if (length < 0 && errno == EINTR) return {Outcome::kInterrupted, {}, errno};
    if (length < 0 && errno == EAGAIN) continue;
    if (length != ssize_t{sizeof event}) return {Outcome::kGone, {}, length < 0 ? errno : EIO};
    if (event.index == options_.channel) return take({ns_of(event.t)});
  }
}

PulseReading PhcDevice::take(DeviceTime edge) {
  using Outcome = PulseReading::Outcome;
  // A device that stamps both edges: the one that follows soon ends a pulse, which is shorter than
  // half a second. Which the first one is cannot be told.
  const auto before = std::exchange(last_edge_, edge);
  if (!before || edge - *before < 500ms) {
    if (before) ++counts_.wrong_edge;
    return {before ? Outcome::kWrongEdge : Outcome::kStale, {}, 0};
  }
  errno = 0;
  const auto pair = cross_timestamp();
  if (!pair && errno != 0) return {Outcome::kGone, {}, errno};
  if (!pair) {
    ++counts_.clock_steps;
    return {Outcome::kClockStepped, {}, 0};
  }
  const Duration age = pair->device - edge;
  if (age > kFresh || age < -kFresh) {
    ++counts_.stale;
    return {Outcome::kStale, {}, 0};
  }
  if (last_pulse_) {
    const auto seconds = std::chrono::round<std::chrono::seconds>(edge - *last_pulse_).count();
    counts_.missed += seconds > 1 ? static_cast<std::uint64_t>(seconds - 1) : 0;
    sequence_ += static_cast<std::uint32_t>(seconds);
  }
  last_pulse_ = edge;
  ++counts_.pulses;
  const Duration rate(std::abs(age.count()) / (1'000'000 / kMostRatePpm) + 1);
  return {Outcome::kPulse, {options_.input, pair->host - age, pair->error + rate, sequence_}, 0};
}

std::optional<PhcDevice::Pair> PhcDevice::cross_timestamp() {
  const auto pair = method_ == Method::kPrecise ? precise() : std::nullopt;
  if (pair) return pair;
  errno = 0;  // some devices fail now and then
  return extended();
}

std::optional<PhcDevice::Pair> PhcDevice::precise() const {
  ptp_sys_offset_precise offset{};
  if (file_.ioctl(PTP_SYS_OFFSET_PRECISE, &offset) < 0) return std::nullopt;
  return Pair{{ns_of(offset.sys_monoraw)}, {ns_of(offset.device)}, Duration(1)};
}

std::optional<PhcDevice::Pair> PhcDevice::extended() {
  ptp_sys_offset_extended offset{};
  offset.n_samples = kSamples;
  if (method_ == Method::kExtendedRaw) offset.rsv[0] = CLOCK_MONOTONIC_RAW;
  if (file_.ioctl(PTP_SYS_OFFSET_EXTENDED, &offset) < 0) return std::nullopt;
  std::optional<Duration> smallest;
  std::int64_t middle = 0;
  DeviceTime device;
  for (unsigned i = 0; i < kSamples; ++i) {
    const std::int64_t before = ns_of(offset.ts[i][0]);
    const Duration window(ns_of(offset.ts[i][2]) - before);
    if (window < 0ns || (smallest && window >= *smallest)) continue;
    smallest = window;
    middle = before + window.count() / 2;
    device = {ns_of(offset.ts[i][1])};
  }
  if (!smallest) return std::nullopt;
  const Duration half = *smallest / 2 + Duration(1);
  if (method_ == Method::kExtendedRaw) return Pair{{middle}, device, half};
  const auto instant = clock_.convert({middle});
  if (!instant) return std::nullopt;
  return Pair{instant->at, device, half + instant->error};
}

}  // namespace timeball::refclock
