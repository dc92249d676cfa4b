#include "refclock/rack.h"

#include <spdlog/spdlog.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fstream>
#include <iterator>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

#include "refclock/host_clock.h"
#include "refclock/kernel_steering.h"

namespace timeball::refclock {
namespace {

namespace asio = boost::asio;

constexpr auto kTick = std::chrono::seconds(1);
constexpr auto kReadLeapFile = std::chrono::hours(1);
constexpr auto kExpiresSoon = std::chrono::hours(28 * 24);

std::string in_words(const std::optional<Duration>& bound) {
  if (!bound) return "time is not known";
  return fmt::format("the error is at most {:.3f} us", static_cast<double>(bound->count()) * 1e-3);
}

}  // namespace

struct Rack::Impl {
  explicit Impl(const RackOptions& o) : options(o), clock(o.discipline) {
    if (o.steer_kernel) {
      steering.emplace(KernelClockControl(o.adjust_kernel), [this] { return pair(); });
    }
    const Observe observe = [this](const Observation& seen) { clock.observe(seen); };
    if (o.gnss) gnss.emplace(context, *o.gnss, observe);
    if (o.gpsd) gpsd.emplace(context, *o.gpsd, observe);
    if (o.rubidium) rubidium.emplace(context, *o.rubidium, observe);
    for (const PulseOptions& pulse : o.pulses) pulses.emplace_back(context, pulse, observe);
    for (const SampleOptions& sample : o.samples) samples.emplace_back(context, sample, observe);
  }
  ~Impl() {
    context.stop();
    if (thread.joinable()) thread.join();
  }

  void run() {
    pthread_setname_np(pthread_self(), "refclock");
    begin();
    context.run();
  }

  void begin() {
    if (gnss) gnss->start();
    if (gpsd) gpsd->start();
    if (rubidium) rubidium->start();
    for (PulseDriver& pulse : pulses) pulse.start();
    for (SampleDriver& sample : samples) sample.start();
    timer.expires_after(kTick);
    wait();
  }

  // At even distances: the promise that is published lasts for two.
  void wait() {
    timer.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      timer.expires_at(std::max(timer.expiry() + kTick, asio::steady_timer::clock_type::now()));
      tick();
      wait();
    });
  }

  void tick() {
    const ClockPair now = pair();
    read_leap_file(now);
    if (gnss) gnss->tick(now.host);
    if (rubidium) rubidium->tick(now.host);
    for (SampleDriver& sample : samples) sample.tick();
    const ClockPair read = pair();
    const RackClock::Beat beat = clock.tick(read);
    state.store(steering ? steering->prepare(clock.status(), beat.clock, read.kernel) : beat.clock);
    if (steering) steer();
    tell(beat.action);
    const std::lock_guard lock(mutex);
    status = collect();
  }

  // When the shards have what prepare() made.
  void steer() {
    steer_timer.expires_after(kReadersLag);
    steer_timer.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      if (const auto fresh = steering->apply(clock)) state.store(*fresh);
      if (steering->stepped() != Duration{}) {
        spdlog::info("the kernel's clock was stepped by {:.6f} s",
                     static_cast<double>(steering->stepped().count()) * 1e-9);
      }
      tell_refusal();
    });
  }

  // When it begins, and when it is over.
  void tell_refusal() {
    const bool now = steering->refused();
    if (std::exchange(refused, now) == now) return;
    if (refused) {
      spdlog::error(
          "the kernel's clock is no longer steered, and goes on as it goes: the kernel refuses, or "
          "the clock helper has ended; start timeballd-clock.socket, or, without clock.helper, "
          "restart timeballd");
    } else {
      spdlog::info("the kernel's clock is steered again");
    }
  }

  ClockPair pair() const {
    const HostClock::Pair p = host.pair();
    return {p.host, p.kernel, p.error};
  }

  void tell(const Action& action) const {
    const RackClockStatus& now = clock.status();
    if (action.state_changed) {
      spdlog::info("reference clocks: {}; {}", name_of(action.state), in_words(now.bound));
    }
    for (std::size_t i = 0; i < kAlarmCount; ++i) {
      const auto alarm = static_cast<Alarm>(i);
      if (action.raised.has(alarm)) spdlog::warn("alarm: {}", name_of(alarm));
      if (action.cleared.has(alarm)) spdlog::info("alarm over: {}", name_of(alarm));
    }
  }

  RackStatus collect() const {
    RackStatus all;
    all.clock = clock.status();
    if (gnss) all.gnss = gnss->status();
    if (gpsd) all.gpsd = gpsd->status();
    if (rubidium) all.rubidium = rubidium->status();
    for (const PulseDriver& pulse : pulses) all.pulses.push_back(pulse.status());
    for (const SampleDriver& sample : samples) all.samples.push_back(sample.status());
    if (steering) all.kernel_steered = !refused;
    return all;
  }

  // Each trouble with it is told once.
  void read_leap_file(const ClockPair& now) {
    if (options.leap_file.empty() || now.host < leap_file_due) return;
    leap_file_due = now.host + kReadLeapFile;
    const std::string why = load_leap_file(now);
    if (!why.empty() && why != leap_file_told) spdlog::warn("{}: {}", options.leap_file, why);
    leap_file_told = why;
  }

  // What is wrong with it. Whether it has expired is judged by the kernel's clock here, for the log
  // only.
  std::string load_leap_file(const ClockPair& now) {
    std::ifstream file(options.leap_file);
    if (!file) return "cannot be read; leap seconds are announced only when two sources agree";
    const std::string text(std::istreambuf_iterator<char>(file), {});
    auto table = parse_leap_seconds(text);
    if (!table) return table.error().message;
    const Duration left = table->expires - UtcTime{now.kernel.ns};
    clock.set_leap_table(std::move(*table));
    if (left < Duration{}) return "has expired: no leap second is announced; update it (tzdata)";
    if (left < kExpiresSoon) return "expires in less than 28 days; update it (tzdata)";
    return {};
  }

  const RackOptions options;
  asio::io_context context{1};
  asio::steady_timer timer{context};
  asio::steady_timer steer_timer{context};
  HostClock host{kernel_calls()};
  RackClock clock;
  Seqlock<ClockState> state{ClockState{}};
  mutable std::mutex mutex;
  RackStatus status;  // under the mutex
  HostTime leap_file_due;
  std::string leap_file_told;
  std::optional<KernelSteering> steering;
  bool refused = false;  // in the newest second that is over

  std::optional<GnssDriver> gnss;
  std::optional<GpsdDriver> gpsd;
  std::optional<RubidiumDriver> rubidium;
  std::list<PulseDriver> pulses;
  std::list<SampleDriver> samples;
  std::jthread thread;  // last: it uses everything above
};

Rack::Rack(const RackOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Rack::~Rack() = default;

void Rack::start() {
  impl_->thread = std::jthread([this] { impl_->run(); });
}

const Seqlock<ClockState>& Rack::state() const {
  return impl_->state;
}

RackStatus Rack::status() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->status;
}

void Rack::readmit() {
  asio::post(impl_->context, [impl = impl_.get()] { impl->clock.readmit(host_now()); });
}

}  // namespace timeball::refclock
