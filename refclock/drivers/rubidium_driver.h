// A rubidium oscillator on a serial line: the line and the poller that speaks its words; says in
// the log what happens to it.
//
// Thread rules: everything on the thread that runs the io_context; reports come on it.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <map>
#include <string>
#include <string_view>

#include "common/base/log.h"
#include "refclock/observations.h"
#include "refclock/rubidium/poller.h"
#include "refclock/serial_line.h"

namespace timeball::refclock {

struct RubidiumOptions {
  std::string device;
  unsigned baud = 0;    // 0: the model's, those that it has in turn
  bool shared = false;  // the pulse comes in on this line, too
  rubidium::Options oscillator;
};

// Totals since the start.
struct RubidiumStatus {
  SerialCounts line;
  rubidium::LineCounts counts;
  std::map<std::string_view, double> readings;  // the newest of each
  bool answers = false;
  std::string identity;  // what it calls itself
};

class RubidiumDriver {
 public:
  // Throws std::runtime_error when the model cannot do what is asked of it.
  RubidiumDriver(boost::asio::io_context& context, const RubidiumOptions& options, Observe observe);

  void start() { line_.start(); }
  void tick(HostTime now);  // once a second
  RubidiumStatus status() const;

 private:
  void step(HostTime now, Bytes arrived);
  void tell(const rubidium::Event& event, HostTime now);
  void arm(HostTime now);

  RubidiumOptions options_;
  Observe observe_;
  std::vector<unsigned> rates_;
  std::size_t rate_ = 0;
  HostTime rate_since_;
  rubidium::Poller poller_;
  RubidiumStatus status_;
  LogLimiter limiter_;
  boost::asio::steady_timer timer_;
  SerialLine line_;  // last: it calls the rest
};

}  // namespace timeball::refclock
