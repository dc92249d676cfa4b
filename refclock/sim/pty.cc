#include "refclock/sim/pty.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace timeball::refclock::sim {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using boost::system::error_code;

// While nobody has it open, reading fails at once: so often we look whether somebody has.
constexpr auto kLookForOpener = std::chrono::milliseconds(20);

[[noreturn]] void fail_with_errno(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

// The other side, raw, and opened once: only then does the master tell when nobody has it open.
void make_raw(const char* slave) {
  const int fd = open(slave, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) fail_with_errno(slave);
  termios settings{};
  tcgetattr(fd, &settings);
  cfmakeraw(&settings);
  tcsetattr(fd, TCSANOW, &settings);
  close(fd);
}

void make_link(const std::string& target, const fs::path& link) {
  std::error_code error;
  if (fs::is_symlink(link, error)) fs::remove(link, error);
  fs::create_symlink(target, link, error);
  if (error) {
    throw std::runtime_error("cannot make " + link.string() + ": " + error.message() +
                             "; remove what is there, or give another directory");
  }
}

}  // namespace

struct Pty::Master : std::enable_shared_from_this<Master> {
  Master(asio::io_context& context, std::function<void(Bytes)> r)
      : descriptor(context), pause(context), received(std::move(r)) {}

  void listen() {
    descriptor.async_read_some(asio::buffer(arrived),
                               [self = shared_from_this()](error_code error, std::size_t size) {
                                 if (!self->descriptor.is_open()) return;
                                 if (error) return self->look_again();
                                 self->received(Bytes(self->arrived).first(size));
                                 if (self->descriptor.is_open()) self->listen();
                               });
  }
  void look_again() {
    pause.expires_after(kLookForOpener);
    pause.async_wait([self = shared_from_this()](error_code) {
      if (self->descriptor.is_open()) self->listen();
    });
  }
  bool is_open_by_host() {
    pollfd master{descriptor.native_handle(), POLLOUT, 0};
    return poll(&master, 1, 0) >= 0 && (master.revents & POLLHUP) == 0;
  }

  asio::posix::stream_descriptor descriptor;
  asio::steady_timer pause;
  std::function<void(Bytes)> received;
  std::array<std::uint8_t, 4096> arrived{};
};

Pty::Pty(asio::io_context& context, fs::path link, std::function<void(Bytes)> received)
    : link_(std::move(link)), master_(std::make_shared<Master>(context, std::move(received))) {
  const int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) fail_with_errno("cannot make a pseudo-terminal");
  master_->descriptor.assign(fd);
  std::array<char, 64> slave{};
  if (grantpt(fd) != 0 || unlockpt(fd) != 0 || ptsname_r(fd, slave.data(), slave.size()) != 0) {
    fail_with_errno("cannot make a pseudo-terminal");
  }
  make_raw(slave.data());
  make_link(slave.data(), link_);
  master_->listen();
}

Pty::~Pty() {
  std::error_code ignored;
  fs::remove(link_, ignored);
  error_code closed;
  master_->descriptor.close(closed);
  master_->pause.cancel();
}

void Pty::send(Bytes octets) {
  if (octets.empty() || !master_->is_open_by_host()) return;
  error_code lost;
  master_->descriptor.non_blocking(true, lost);
  master_->descriptor.write_some(asio::buffer(octets.data(), octets.size()), lost);
}

}  // namespace timeball::refclock::sim
