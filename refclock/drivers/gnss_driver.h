// A GNSS receiver on a serial line: the line, what cuts its octets into messages, what makes time
// of them, and what sets a u-blox up. Joins the four and says in the log what happens.
//
// A receiver of another maker is taken as it is: nothing answers, nothing is set. A u-blox that
// loses its setting (it was powered off, or somebody else wrote to it) stops sending UBX time, and
// is set up again.
//
// With baud 0 the usual rates are tried in turn until messages come. With a given one, octets that
// are no messages are named once.
//
// Thread rules: everything on the thread that runs the io_context; reports come on it.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <optional>
#include <string>

#include "refclock/gnss/configurator.h"
#include "refclock/gnss/receiver.h"
#include "refclock/gnss/sky_view.h"
#include "refclock/gnss/stream.h"
#include "refclock/observations.h"
#include "refclock/serial_line.h"

namespace timeball::refclock {

struct GnssOptions {
  std::string device;
  unsigned baud = 0;      // 0: found by trying
  bool shared = false;    // the pulse comes in on this line, too
  bool configure = true;  // a u-blox is set up as we need it
  gnss::ConfiguratorSettings settings;
  gnss::ReceiverOptions receiver;
};

// Totals since the start.
struct GnssStatus {
  SerialCounts line;
  gnss::StreamCounts stream;
  std::uint64_t labels_trusted = 0, labels_untrusted = 0;
  std::uint64_t configurations = 0;  // begun
  bool configured = false;           // and all that is needed holds
  std::string model;                 // empty: it did not say
  Sky sky;                           // now
};

class GnssDriver {
 public:
  GnssDriver(boost::asio::io_context& context, const GnssOptions& options, Observe observe);

  void start() { line_.start(); }
  void tick(HostTime now);  // once a second
  GnssStatus status() const;

 private:
  void opened();
  void received(Bytes octets, HostTime arrival);
  void take(const gnss::Frame& frame);
  void read(const gnss::Frame& frame);
  void report(const gnss::Reports& reports);
  void await_quiet();
  void configure(HostTime now);
  void watch_configuration(HostTime now);
  void watch_rate(HostTime now);
  void watch_rate_from(HostTime now);

  GnssOptions options_;
  Observe observe_;
  gnss::Stream stream_;
  gnss::Receiver receiver_;
  gnss::SkyView sky_;
  std::optional<gnss::Configurator> configurator_;
  bool configuration_told_ = false;
  std::optional<HostTime> ubx_time_at_, frame_at_;
  HostTime rate_since_;
  std::uint64_t octets_then_ = 0;  // received before rate_since_
  std::size_t rate_ = 0;           // being tried
  bool rate_told_ = false;
  GnssStatus status_;
  boost::asio::steady_timer quiet_;
  SerialLine line_;  // last: it calls the rest
};

}  // namespace timeball::refclock
