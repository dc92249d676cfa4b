// What other programs tell of the time, as samples with the error that the operator asserts for
// them: NTP's shared memory, looked at once a second, and chrony's SOCK, a datagram socket that we
// make for our user and group only.
//
// Thread rules: everything on the thread that runs the io_context; reports come on it.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/datagram_protocol.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "refclock/linux/external_sample.h"
#include "refclock/linux/host_clock.h"
#include "refclock/observations.h"

namespace timeball::refclock {

struct SampleOptions {
  std::uint8_t source = 0;       // TimeSample::source
  std::optional<unsigned> unit;  // shared memory: 0 to 255
  std::string path;              // or the socket's
  Duration error{};              // how wrong a sample may be
};

// Totals since the start.
struct SampleStatus {
  std::string device;  // "shm 0", or the socket
  std::uint64_t samples = 0;
  std::uint64_t refused = 0;       // no sample, or the clock was stepped around it
  std::optional<Duration> offset;  // of the newest: UTC - the kernel's clock
};

class SampleDriver {
 public:
  // Throws std::runtime_error with one sentence when the segment or the socket cannot be had.
  SampleDriver(boost::asio::io_context& context, const SampleOptions& options, Observe observe);
  ~SampleDriver();

  void start();
  void tick();  // once a second
  const SampleStatus& status() const { return status_; }
  const SampleOptions& options() const { return options_; }

 private:
  void receive();
  void take(const ExternalSample& sample);

  SampleOptions options_;
  Observe observe_;
  HostClock clock_;
  SampleStatus status_;
  std::optional<NtpShm> segment_;
  boost::asio::local::datagram_protocol::socket socket_;
  std::array<std::uint8_t, 256> datagram_;
};

}  // namespace timeball::refclock
