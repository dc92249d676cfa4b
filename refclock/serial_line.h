// A serial line to a device, opened again whenever it goes: unplugged, renamed by udev, held by
// somebody else. Says so in one log line each time, not at every attempt.
//
// Raw, 8N1, without flow control. Another process on the same line would take octets from us, and
// we from it: we do not open one that another has open, and when one opens ours it is named and
// counted. (What other users' processes have open, only root sees.)
//
// Thread rules: everything on the thread that runs the io_context, and so are the calls back.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/base/bytes.h"
#include "refclock/observations.h"

namespace boost::asio {
class io_context;
}

namespace timeball::refclock {

struct SerialOptions {
  std::string device;  // "/dev/ttyS0"
  unsigned baud = 9600;
  bool shared = false;  // ours is also the thread that takes the pulse off its DCD
};

// Totals since the start.
struct SerialCounts {
  std::uint64_t octets_received = 0;
  std::uint64_t octets_sent = 0;
  std::uint64_t octets_unsent = 0;  // the device takes no more, or is not there
  std::uint64_t opened = 0;
  std::uint64_t open_failures = 0;
  std::uint64_t lost = 0;       // was open, and went
  std::uint64_t intruders = 0;  // other processes that opened it
};

class SerialLine {
 public:
  struct Calls {
    // It is open: perhaps another device than before, or one that has been reset.
    std::function<void()> opened;
    // arrival: when the first of them was read.
    std::function<void(Bytes octets, HostTime arrival)> received;
  };

  SerialLine(boost::asio::io_context& context, SerialOptions options, Calls calls);
  ~SerialLine();  // stops

  void start();
  // Gives it all to the kernel or nothing: a device that does not listen must not fill our memory.
  bool send(Bytes octets);
  // For the next octets, and after each opening. Only rates that the kernel has a name for.
  void set_baud(unsigned baud);
  bool is_open() const;
  const SerialCounts& counts() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared with what is still to be called
};

// "gpsd (pid 123)": another process that has the device open; empty: none that we can see.
std::string other_holder(const std::string& device);

}  // namespace timeball::refclock
