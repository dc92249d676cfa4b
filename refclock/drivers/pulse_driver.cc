#include "refclock/drivers/pulse_driver.h"

#include <spdlog/spdlog.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <variant>

#include "refclock/drivers/pulse_jitter.h"

namespace timeball::refclock {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr auto kRetry = 1s;
constexpr auto kPatience = 1500ms;  // for one pulse; the end waits as long

// A device of either kind, and the line that gives its pulse.
struct Source {
  std::optional<PpsTty> tty;
  std::variant<PpsDevice, PhcDevice> device;
};

Result<Source> open_source(const SystemCalls& calls, const PulseOptions& options) {
  if (options.kind == PulseOptions::Kind::kPhc) {
    auto device = PhcDevice::open(
        calls, {options.device, options.input, options.channel, options.pin, options.edge});
    if (!device) return tl::unexpected(device.error());
    return Source{std::nullopt, std::move(*device)};
  }
  std::optional<PpsTty> tty;
  std::string path = options.device;
  if (path.starts_with("/dev/tty")) {
    auto attached = attach_pps_line_discipline(calls, path);
    if (!attached) return tl::unexpected(attached.error());
    path = attached->pps_path;
    tty.emplace(std::move(*attached));
  }
  auto device = PpsDevice::open(calls, {path, options.input, options.edge});
  if (!device) return tl::unexpected(device.error());
  return Source{std::move(tty), std::move(*device)};
}

PulseCounts operator+(const PulseCounts& a, const PulseCounts& b) {
  return {a.pulses + b.pulses, a.missed + b.missed,         a.timeouts + b.timeouts,
          a.stale + b.stale,   a.wrong_edge + b.wrong_edge, a.clock_steps + b.clock_steps};
}

}  // namespace

struct PulseDriver::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& c, PulseOptions o, Observe ob, SystemCalls s)
      : context(c), options(std::move(o)), observe(std::move(ob)), calls(std::move(s)) {
    status.device = options.device;
    status.input = options.input;
  }

  // ---- The thread's.

  void run(const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "pulse");
    while (!stop.stop_requested()) {
      auto source = open_source(calls, options);
      if (source) {
        told.clear();
        spdlog::info("{}: open, the pulse of {}", options.device,
                     options.input == PulseInput::kGnss ? "the receiver" : "the oscillator");
        report([](PulseStatus& s) { s.open = true, ++s.opened; });
        follow(*source, stop);
      } else {
        trouble(source.error().message);
        report([](PulseStatus& s) { ++s.open_failures; });
      }
      std::unique_lock lock(mutex);
      wake.wait_for(lock, stop, kRetry, [] { return false; });
    }
  }

  // Each trouble is told once, until the device is open again.
  void trouble(const std::string& why) {
    if (std::exchange(told, why) == why) return;
    spdlog::warn("{}; trying again every second", why);
  }

  void follow(Source& source, const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const PulseReading reading =
          std::visit([](auto& device) { return device.fetch(kPatience); }, source.device);
      const PulseCounts counts =
          std::visit([](const auto& device) { return device.counts(); }, source.device);
      const auto* pps = std::get_if<PpsDevice>(&source.device);
      const auto width = pps != nullptr ? pps->width() : std::nullopt;
      const bool gone = reading.outcome == PulseReading::Outcome::kGone;
      if (gone)
        trouble(options.device + ": lost: " + std::generic_category().message(reading.error));
      if (reading.outcome == PulseReading::Outcome::kWrongEdge && !std::exchange(edge_told, true)) {
        spdlog::warn(
            "{}: these are the ends of the pulses, not their beginnings; set edge = \"{}\"",
            options.device, options.edge == Edge::kAssert ? "clear" : "assert");
      }
      asio::post(context, [self = shared_from_this(), reading, counts, width, gone] {
        self->take(reading, counts, width, gone);
      });
      if (gone) return;
    }
  }

  template <class Change>
  void report(Change change) {
    asio::post(context, [self = shared_from_this(), change] { change(self->status); });
  }

  // ---- The io_context's.

  void take(const PulseReading& reading, const PulseCounts& counts, std::optional<Duration> width,
            bool gone) {
    status.counts = before + counts;
    status.width = width;
    if (gone) {
      before = status.counts;
      status.open = false;
      ++status.lost;
    }
    if (reading.outcome != PulseReading::Outcome::kPulse || stopped) return;
    status.last = reading.pulse.edge;
    status.jitter = jitter.add(reading.pulse.edge);
    observe(reading.pulse);
  }

  asio::io_context& context;
  PulseOptions options;
  Observe observe;
  SystemCalls calls;
  PulseStatus status;
  PulseCounts before;  // of the devices that were lost
  PulseJitter jitter;
  bool stopped = false;

  std::string told;
  bool edge_told = false;
  std::mutex mutex;
  std::condition_variable_any wake;
  std::jthread thread;
};

PulseDriver::PulseDriver(asio::io_context& context, const PulseOptions& options, Observe observe,
                         const SystemCalls& calls)
    : impl_(std::make_shared<Impl>(context, options, std::move(observe), calls)) {}

PulseDriver::~PulseDriver() {
  impl_->stopped = true;
  impl_->thread = {};  // stops and joins
}

void PulseDriver::start() {
  impl_->thread =
      std::jthread([impl = impl_.get()](const std::stop_token& stop) { impl->run(stop); });
}

PulseStatus PulseDriver::status() const {
  return impl_->status;
}

}  // namespace timeball::refclock
