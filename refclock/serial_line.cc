#include "refclock/serial_line.h"

#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/serial_port.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <fstream>
#include <optional>

#include "refclock/host_clock.h"

namespace timeball::refclock {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using asio::awaitable;
using boost::system::error_code;
using namespace std::chrono_literals;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kRetry = 1s;
constexpr auto kLookForOthers = 10s;

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// The first entry that fits; entries come and go while we look.
template <class Fits>
std::optional<fs::path> find_entry(const fs::path& directory, Fits fits) {
  std::error_code error;
  const fs::directory_iterator end;
  for (fs::directory_iterator entry(directory, error); !error && entry != end;
       entry.increment(error)) {
    if (fits(entry->path())) return entry->path();
  }
  return std::nullopt;
}

bool has_open(const fs::path& process, const fs::path& device) {
  return find_entry(process / "fd",
                    [&](const fs::path& fd) {
                      std::error_code error;
                      return fs::read_symlink(fd, error) == device;
                    })
      .has_value();
}

}  // namespace

std::string other_holder(const std::string& device) {
  std::error_code error;
  const fs::path canonical = fs::canonical(device, error);
  if (error) return {};
  const auto holder = find_entry("/proc", [&](const fs::path& process) {
    const std::string pid = process.filename();
    return is_number(pid) && pid != std::to_string(getpid()) && has_open(process, canonical);
  });
  if (!holder) return {};
  std::string name;
  std::getline(std::ifstream(*holder / "comm"), name);
  return name + " (pid " + holder->filename().string() + ")";
}

struct SerialLine::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& context, SerialOptions o, Calls c)
      : options(std::move(o)), calls(std::move(c)), port(context), pause(context), look(context) {}

  // Each trouble is told once, until it is over. That a lost device cannot be opened is no news.
  void trouble(const std::string& why) {
    if (why == told) return;
    told = why;
    spdlog::warn("{}: {}; trying again every second", options.device, why);
  }

  // Who it is only root can see, and who shows himself to us (other_holder).
  std::string in_words(const error_code& error) const {
    if (error != boost::system::errc::device_or_resource_busy) return error.message();
    return "in use by another process, which fuser -v names to root";
  }

  error_code set_up() {
    using Base = asio::serial_port_base;
    error_code error;
    port.set_option(Base::baud_rate(options.baud), error);
    if (!error) port.set_option(Base::character_size(8), error);
    if (!error) port.set_option(Base::parity(Base::parity::none), error);
    if (!error) port.set_option(Base::stop_bits(Base::stop_bits::one), error);
    if (!error) port.set_option(Base::flow_control(Base::flow_control::none), error);
    return error;
  }

  bool open() {
    if (const std::string holder = other_holder(options.device); !holder.empty()) {
      trouble("in use by " + holder);
      return false;
    }
    error_code error;
    port.open(options.device, error);
    if (!error) error = set_up();
    if (error) {
      if (!lost) trouble(in_words(error));
      error_code ignored;
      port.close(ignored);
      return false;
    }
    if (!options.shared) ioctl(port.native_handle(), TIOCEXCL);
    ++counts.opened;
    spdlog::info("{}: open, {} Bd", options.device, options.baud);
    told.clear();
    lost = false;
    return true;
  }

  awaitable<void> run(std::shared_ptr<Impl>) {
    while (!stopped) {
      if (open()) {
        calls.opened();
        co_await read();
        close();
      } else {
        ++counts.open_failures;
      }
      if (stopped) co_return;
      pause.expires_after(kRetry);
      co_await pause.async_wait(kAwait);
    }
  }

  awaitable<void> read() {
    for (;;) {
      const auto [error, size] = co_await port.async_read_some(asio::buffer(arrived), kAwait);
      if (stopped) co_return;
      if (error) {
        lost = true;
        ++counts.lost;
        trouble("lost: " + error.message());
        co_return;
      }
      counts.octets_received += size;
      calls.received(Bytes(arrived).first(size), host_now());
    }
  }

  awaitable<void> look_for_others(std::shared_ptr<Impl>) {
    while (!stopped) {
      look.expires_after(kLookForOthers);
      co_await look.async_wait(kAwait);
      if (stopped || !port.is_open()) continue;
      const std::string holder = other_holder(options.device);
      if (holder == intruder) continue;
      if (holder.empty()) {
        spdlog::info("{}: {} has left it", options.device, intruder);
      } else {
        ++counts.intruders;
        spdlog::warn("{}: {} has opened it too: octets will be missing; end it, or this",
                     options.device, holder);
      }
      intruder = holder;
    }
  }

  // The other side of a pseudo-terminal would keep the mark.
  void close() {
    if (!options.shared && port.is_open()) ioctl(port.native_handle(), TIOCNXCL);
    error_code ignored;
    port.close(ignored);
  }

  void stop() {
    stopped = true;
    close();
    pause.cancel();
    look.cancel();
  }

  SerialOptions options;
  Calls calls;
  asio::serial_port port;
  asio::steady_timer pause;
  asio::steady_timer look;
  SerialCounts counts;
  bool stopped = false;
  bool lost = false;     // was open, and went
  std::string told;      // the trouble that the log has
  std::string intruder;  // the other process that the log has
  std::array<std::uint8_t, 4096> arrived;
};

SerialLine::SerialLine(asio::io_context& context, SerialOptions options, Calls calls)
    : impl_(std::make_shared<Impl>(context, std::move(options), std::move(calls))) {}
SerialLine::~SerialLine() {
  impl_->stop();
}

void SerialLine::start() {
  const auto executor = impl_->port.get_executor();
  asio::co_spawn(executor, impl_->run(impl_), asio::detached);
  asio::co_spawn(executor, impl_->look_for_others(impl_), asio::detached);
}

bool SerialLine::send(Bytes octets) {
  const ssize_t sent =
      is_open() ? write(impl_->port.native_handle(), octets.data(), octets.size()) : -1;
  const bool all = sent == static_cast<ssize_t>(octets.size());
  (all ? impl_->counts.octets_sent : impl_->counts.octets_unsent) += octets.size();
  return all;
}

void SerialLine::set_baud(unsigned baud) {
  impl_->options.baud = baud;
  if (is_open()) (void)impl_->set_up();
}

bool SerialLine::is_open() const {
  return impl_->port.is_open();
}

const SerialCounts& SerialLine::counts() const {
  return impl_->counts;
}

}  // namespace timeball::refclock
