// The kernel's transmit timestamps of one socket: which were asked for, and what came of them in
// the socket's error queue. The socket must have kTimestamping set, and messages that ask for
// their time go through one object of this class. Internal to common/net; the thread rules are the
// batch's. Never blocks.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "common/net/udp_batch.h"

namespace timeball::net {

class TransmitTimes {
 public:
  explicit TransmitTimes(int socket) : socket_(socket) {}

  // A message with this key is about to be sent, and asks for its transmit time.
  void expect(std::uint32_t key);
  // What was expected has been sent, or refused in part.
  void sent(bool any_refused);
  // Empties the error queue, if anything may be in it: a level-triggered wait would spin on it.
  void collect();
  std::span<const TransmitTime> take();

 private:
  bool read_one();
  void restart();

  int socket_;
  // The kernel numbers the messages that asked, from 0; numbers wrap.
  std::uint32_t next_ = 0;                          // the number of the next message that asks
  std::uint32_t told_ = 0;                          // numbers below have been told, or are lost
  std::uint32_t part_ = 0;                          // the first number of the part being sent
  std::size_t count_ = 0;                           // of times_
  bool taken_ = false;                              // times_
  std::array<std::uint32_t, kBatchCapacity> keys_;  // by number
  std::array<TransmitTime, kBatchCapacity> times_;
};

}  // namespace timeball::net
