// A connection to gpsd, made again whenever it goes; says so in one log line each time.
//
// Thread rules: everything on the thread that runs the io_context, and so are the calls back.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "refclock/gpsd/gpsd_report.h"

namespace boost::asio {
class io_context;
}

namespace timeball::refclock {

struct GpsdOptions {
  std::string host = "127.0.0.1";
  std::string port = "2947";
};

// Totals since the start.
struct GpsdCounts {
  std::uint64_t reports = 0;
  std::uint64_t refused = 0;  // lines that are not reports
  std::uint64_t connected = 0;
  std::uint64_t connection_failures = 0;
  std::uint64_t lost = 0;  // was connected, and went; or silent for too long
};

class GpsdClient {
 public:
  // arrival: when the line's last octets were read.
  using Received = std::function<void(const GpsdReport& report, HostTime arrival)>;

  GpsdClient(boost::asio::io_context& context, GpsdOptions options, Received received);
  ~GpsdClient();  // stops

  void start();
  const GpsdCounts& counts() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared with what is still to be called
};

}  // namespace timeball::refclock
