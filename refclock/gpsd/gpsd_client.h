// A connection to gpsd, made again whenever it goes; says so in one log line each time.
//
// Thread rules: everything on the thread that runs the io_context, and so are the calls back.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/base/counter.h"
#include "refclock/gpsd/gpsd_report.h"

namespace boost::asio {
class io_context;
}

namespace timeball::refclock {

struct GpsdOptions {
  std::string host = "127.0.0.1";
  std::string port = "2947";
};

// Anybody may read.
struct GpsdCounters {
  Counter reports;
  Counter refused;  // lines that are not reports
  Counter connected;
  Counter connection_failures;
  Counter lost;  // was connected, and went; or silent for too long
};

class GpsdClient {
 public:
  // arrival: when the line's last octets were read.
  using Received = std::function<void(const GpsdReport& report, HostTime arrival)>;

  GpsdClient(boost::asio::io_context& context, GpsdOptions options, Received received);
  ~GpsdClient();  // stops

  void start();
  const GpsdCounters& counters() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared with what is still to be called
};

}  // namespace timeball::refclock
