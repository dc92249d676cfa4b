// How a u-blox receiver is made to send what the driver needs: asks who it is (MON-VER), then, for
// each subject: reads what is set; writes what differs; reads it again and compares. Ends with what
// does not hold, if anything.
//
// What is set already is not written: a survey under way goes on when only our side was restarted.
// Everything goes to RAM. Whoever opens the line, or sees the receiver restart, begins again with a
// new configurator.
//
// The caller sends what it is given (perhaps nothing), hands in every UBX frame, and calls tick()
// about once a second. Pure; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "refclock/gnss/ubx.h"
#include "refclock/gnss/ubx_config.h"
#include "refclock/observations.h"

namespace timeball::refclock::gnss {

struct ConfiguratorSettings {
  enum class Port : std::uint8_t { kUart1, kUsb };  // of the receiver, that we are at

  Port port = Port::kUart1;
  ubx::TimePulse pulse{.cable_delay_ns = 0, .length_us = 100'000};
  ubx::TimeMode position{.mode = ubx::TimeMode::Mode::kSurveyIn,
                         .ecef_cm = {},
                         .accuracy_mm = 0,
                         .survey_s = 1200,
                         .survey_limit_mm = 9000};
  bool keep_nmea = false;  // for others on the line
};

// What a receiver says of itself.
struct ReceiverIdentity {
  std::string software;
  std::string hardware;
  std::string model;                 // "ZED-F9T"; empty: it does not say
  unsigned protocol_hundredths = 0;  // 2920 is 29.20; 0: it does not say
  bool by_key() const { return protocol_hundredths >= 2301; }
};

// A setting that does not hold.
struct Unmet {
  enum class Why : std::uint8_t { kRefused, kNoAnswer, kDiffers };

  std::string what;
  Why why = Why::kNoAnswer;
  bool needed = true;  // false: time can be had without it
};

class Configurator {
 public:
  enum class State : std::uint8_t { kIdentifying, kConfiguring, kDone };

  explicit Configurator(const ConfiguratorSettings& settings) : settings_(settings) {}

  // What is to be sent.
  ubx::Octets start(HostTime now);
  ubx::Octets take(HostTime now, const ubx::Packet& packet);
  ubx::Octets tick(HostTime now);

  State state() const { return state_; }
  const ReceiverIdentity& identity() const { return identity_; }
  // Complete when done.
  const std::vector<Unmet>& unmet() const { return unmet_; }
  // Done, and all that is needed holds.
  bool satisfied() const;

 private:
  // One subject. Generation 9: settings by key; generation 8: a message.
  struct Step {
    std::string what;
    bool needed = true;
    std::vector<ubx::KeyValue> values;
    std::vector<std::string> names;  // of the values
    std::uint8_t id = 0;             // of the message
    ubx::Octets poll;
    ubx::Octets payload;
    std::size_t compare_from = 0;  // in the payload
  };
  enum class Phase : std::uint8_t { kRead, kWrite, kVerify };

  void identify(const ubx::MonVer& version);
  void plan_by_key();
  void plan_by_message();
  void add_message(std::uint8_t message_class, std::uint8_t id, std::uint8_t rate,
                   const std::string& what, bool needed);
  ubx::Octets send(HostTime now, Phase phase);
  ubx::Octets send_again(HostTime now);
  ubx::Octets next_step(HostTime now);
  ubx::Octets give_up(HostTime now, Unmet::Why why);
  ubx::Octets answered(HostTime now, bool as_wanted);
  ubx::Octets refused(HostTime now);
  // Whether the packet is what was asked for, and as wanted.
  std::optional<bool> compare(const ubx::Packet& packet) const;
  ubx::Octets request() const;

  ConfiguratorSettings settings_;
  State state_ = State::kIdentifying;
  ReceiverIdentity identity_;
  std::deque<Step> steps_;  // the first is under way
  Phase phase_ = Phase::kRead;
  unsigned attempts_ = 0;
  HostTime sent_;
  std::vector<Unmet> unmet_;
};

}  // namespace timeball::refclock::gnss
