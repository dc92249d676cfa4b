#include "server/alarms.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "common/time/ntp_timestamp.h"

namespace timeball::server {
namespace {

using refclock::Alarm;
using refclock::RackStatus;
using Raised = std::optional<bool>;
using enum Severity;

// A daemon that follows another's key file, or a cluster, learns of a rotation a little later.
constexpr auto kRotationPatience = std::chrono::minutes(1);
constexpr auto kExpiresSoon = std::chrono::hours(14 * 24);

// ---- The daemon's own.

Raised unsynchronised(const Snapshot& s) {
  if (!s.clock || s.shards.empty()) return std::nullopt;
  return !s.clock->state.synchronised();
}

Raised holdover(const Snapshot& s) {
  if (!s.rack) return std::nullopt;
  return s.rack->clock.state == refclock::State::kHoldover;
}

Raised no_keys(const Snapshot& s) {
  if (!s.keys) return std::nullopt;
  return s.keys->status.generations == 0;
}

Raised keys_not_rotating(const Snapshot& s) {
  if (!s.keys) return std::nullopt;
  const MasterKeyStatus& keys = s.keys->status;
  return keys.generations != 0 && s.keys->now - keys.next_rotation > kRotationPatience;
}

template <bool ClusterStatus::*member, bool bad>
Raised cluster(const Snapshot& s) {
  if (!s.keys || !s.keys->status.cluster) return std::nullopt;
  return (*s.keys->status.cluster).*member == bad;
}

// Whether a certificate is left less than this; the dates count once the time is known.
Raised less_than(const Snapshot& s, Duration left) {
  if (!s.certificates) return std::nullopt;
  const std::optional<UtcTime> utc = utc_of(s);
  return utc && std::ranges::any_of(s.certificates->each, [&](const CertificateStatus& one) {
           return UtcTime{one.not_after_s * kNsPerSecond} - *utc < left;
         });
}
Raised certificate_expires(const Snapshot& s) {
  return less_than(s, kExpiresSoon);
}
Raised certificate_expired(const Snapshot& s) {
  return less_than(s, Duration{});
}

Raised certificate_refused(const Snapshot& s) {
  if (!s.certificates) return std::nullopt;
  return std::ranges::any_of(s.certificates->each, &CertificateStatus::refused);
}

Raised nts_ke_overload(const Snapshot& s) {
  if (!s.nts_ke) return std::nullopt;
  return s.recent.ke_turned_away != 0;
}

Raised xdp_fallback(const Snapshot& s) {
  if (s.xdp.empty()) return std::nullopt;
  return std::ranges::any_of(s.xdp, [](const net::XdpStatus& one) { return !one.taking; });
}

Raised kernel_not_steered(const Snapshot& s) {
  if (!s.rack || !s.rack->kernel_steered) return std::nullopt;
  return !*s.rack->kernel_steered;
}

Raised replies_refused(const Snapshot& s) {
  if (s.shards.empty()) return std::nullopt;
  return s.recent.replies_refused != 0;
}

Raised secrets_unlocked(const Snapshot& s) {
  if (!s.process) return std::nullopt;
  return s.process->unlocked_secrets != 0;
}

constexpr AlarmKind kOwn[] = {
    {"unsynchronised", kCritical, "The time served is not synchronised, and says so to clients.",
     "Look at the other alarms, the reference clocks' state and the log.", &unsynchronised, true},
    {"no-keys", kCritical, "There is no master key yet, so that NTS is not served.",
     "See to it that etcd answers: the keys are there.", &no_keys, true},
    {"certificate-expired", kCritical,
     "A certificate in use has expired: clients refuse to establish keys.",
     "Renew the certificate; the new one is taken up within ten seconds.", &certificate_expired,
     true},
    {"cluster-keys-refused", kCritical,
     "What lies in etcd is no document of this cluster's keys; the keys at hand stay in use.",
     "Compare etcd.key_file with the other members', and find out who wrote to etcd.",
     &cluster<&ClusterStatus::refused, true>},
    {"cluster-cut-off", kMajor,
     "etcd does not answer: this member goes on with the keys it has, and misses the next ones.",
     "Mend etcd, or the way to it.", &cluster<&ClusterStatus::in_contact, false>},
    {"keys-not-rotating", kMajor, "The master keys are older than keys.rotation allows.",
     "The log says why: most often the key file or its directory cannot be written.",
     &keys_not_rotating},
    {"certificate-refused", kMajor,
     "A certificate's files cannot be used; the certificate read before stays in use.",
     "The log says what is wrong with which file; mend it.", &certificate_refused},
    {"kernel-not-steered", kMajor,
     "The kernel's clock is no longer steered: the clock helper has ended, or the kernel refuses.",
     "The log has the kernel's reason or the helper's end; with clock.helper, look at "
     "timeballd-clock.socket, too. Mend that, and restart timeballd.",
     &kernel_not_steered},
    {"certificate-expires", kMinor, "A certificate in use expires within 14 days.",
     "See why it has not been renewed.", &certificate_expires},
    {"holdover", kMinor, "Time is served without GNSS, within a bound that grows.",
     "Look at the receiver and its antenna before holdover_limit is reached.", &holdover},
    {"nts-ke-overload", kMinor,
     "Connections to NTS-KE were refused or gave way to others in the last five minutes.",
     "Look at nts_ke.connections for why; allow more, or add a server.", &nts_ke_overload},
    {"replies-refused", kMinor, "The kernel refused to send replies in the last five minutes.",
     "Look for a full send buffer, a firewall's rule or a missing route.", &replies_refused},
    {"xdp-fallback", kMinor, "AF_XDP delivered nothing on an interface: sockets serve it, slower.",
     "Report the driver; try another ntp.xdp_mode, and restart.", &xdp_fallback},
    {"secrets-unlocked", kMinor, "Memory that holds keys cannot be locked and may get into swap.",
     "Raise LimitMEMLOCK to 8 MiB or more, or turn swap off.", &secrets_unlocked},
};

// ---- Those of the reference clocks.

template <Alarm alarm>
Raised of_rack(const Snapshot& s) {
  if (!s.rack) return std::nullopt;
  return s.rack->clock.alarms.has(alarm);
}

template <Alarm alarm>
Raised of_receiver(const Snapshot& s) {
  if (!s.rack || (!s.rack->gnss && !s.rack->gpsd)) return std::nullopt;
  return of_rack<alarm>(s);
}

template <Alarm alarm>
Raised of_rubidium(const Snapshot& s) {
  if (!s.rack || !s.rack->rubidium) return std::nullopt;
  return of_rack<alarm>(s);
}

// Of any rack, of one with a receiver, of one with a rubidium.
template <Alarm alarm>
constexpr AlarmKind rack_kind(Severity severity, std::string_view meaning, std::string_view action,
                              Raised (*raised)(const Snapshot&) = &of_rack<alarm>) {
  return {name_of(alarm), severity, meaning, action, raised, false, true};
}
template <Alarm alarm>
constexpr AlarmKind receiver_kind(Severity severity, std::string_view meaning,
                                  std::string_view action) {
  return rack_kind<alarm>(severity, meaning, action, &of_receiver<alarm>);
}
template <Alarm alarm>
constexpr AlarmKind rubidium_kind(Severity severity, std::string_view meaning,
                                  std::string_view action) {
  return rack_kind<alarm>(severity, meaning, action, &of_rubidium<alarm>);
}

constexpr AlarmKind kRack[] = {
    rack_kind<Alarm::kBoundExceeded>(
        kCritical,
        "The error bound has passed holdover_limit; the time is served as unsynchronised.",
        "Bring GNSS back: receiver, antenna, cable, pulse."),
    rack_kind<Alarm::kPulsesMissing>(
        kMajor, "No pulse of the receiver has been of use lately.",
        "Look at the antenna, its cable, the fix, and the wire of the pulse."),
    rack_kind<Alarm::kLabelDisagrees>(
        kMajor, "The receiver names another second than the one counted here; it is excluded.",
        "Compare with another source; if the receiver is right, run timeball readmit."),
    rack_kind<Alarm::kPhaseStep>(
        kMajor, "The pulse is not where our own clocks say it must be; GNSS is excluded.",
        "Suspect spoofing, a changed cable or a restarted receiver; then timeball readmit."),
    rack_kind<Alarm::kPhaseSlope>(
        kMajor, "GNSS and rubidium part faster than both may; which of them is wrong is not known.",
        "Compare both with another source; if GNSS is right, run timeball readmit."),
    receiver_kind<Alarm::kJamming>(kMajor, "The receiver reports jamming; GNSS is excluded.",
                                   "Look for a transmitter near the antenna."),
    receiver_kind<Alarm::kSpoofing>(kMajor, "The receiver reports spoofing; GNSS is excluded.",
                                    "Treat it as an attack until another receiver says otherwise."),
    receiver_kind<Alarm::kPosition>(
        kMajor, "The receiver is not where it was surveyed; GNSS is excluded.",
        "If the antenna was moved, correct position; else suspect spoofing."),
    receiver_kind<Alarm::kAntenna>(kMajor, "The receiver reports its antenna as open or shorted.",
                                   "Look at the antenna, its cable and its power."),
    rubidium_kind<Alarm::kRubidiumUnlocked>(
        kMajor, "The rubidium is not locked to its line.",
        "Give it ten minutes to warm up; then look at its readings and its supply."),
    rubidium_kind<Alarm::kRubidiumSilent>(
        kMajor, "The rubidium tells nothing, or its pulse is gone.",
        "Look at its serial line, its pulse's wire and its supply."),
    rack_kind<Alarm::kLeapDisagreement>(kMajor,
                                        "Sources contradict each other about a leap second.",
                                        "Update tzdata; compare with IERS Bulletin C."),
    rack_kind<Alarm::kHostClock>(
        kMajor, "This machine's crystal left its limits: every pulse at once was elsewhere.",
        "Suspect the machine: temperature, a suspended guest, a bad clock source."),
    rack_kind<Alarm::kSourcesDisagree>(kMajor,
                                       "The other sources have no majority, or it contradicts us.",
                                       "Find the source that is wrong and remove it."),
    rack_kind<Alarm::kForeignSteering>(
        kMajor, "Somebody else moves the kernel's clock.",
        "Stop the other time client, or whatever virtualisation sets the clock."),
    receiver_kind<Alarm::kWeekRollover>(
        kMinor, "The receiver's date is whole periods of 1024 weeks off, and was corrected.",
        "Update the receiver's firmware."),
    rubidium_kind<Alarm::kRubidiumJumped>(
        kMinor, "The rubidium's pulse moved.",
        "Look for a restart or a loose wire, if it happens again."),
    rubidium_kind<Alarm::kRubidiumTemperature>(
        kMinor, "The rubidium's temperature changed by more than its limits are good for.",
        "Look at the room's cooling and the air around the rubidium."),
    rack_kind<Alarm::kLeapUnknown>(
        kMinor, "No source of leap seconds is trusted and current; none is announced.",
        "Update tzdata; look at clock.leap_file."),
};
static_assert(std::size(kRack) == refclock::kAlarmCount);

constexpr auto kKinds = [] {
  std::array<AlarmKind, std::size(kOwn) + std::size(kRack)> all;
  std::ranges::copy(kRack, std::ranges::copy(kOwn, all.begin()).out);
  // By insertion: std::stable_sort is no constant expression.
  for (std::size_t i = 1; i < all.size(); ++i) {
    for (std::size_t j = i; j > 0 && all[j].severity < all[j - 1].severity; --j) {
      std::swap(all[j], all[j - 1]);
    }
  }
  return all;
}();

}  // namespace

std::span<const AlarmKind> alarm_kinds() {
  return kKinds;
}

RaisedAlarms::Change RaisedAlarms::update(const Snapshot& snapshot, MonotonicTime now) {
  Change change;
  std::vector<RaisedAlarm> before = std::exchange(all_, {});
  updated_at_ = now;
  const std::optional<UtcTime> utc = utc_of(snapshot);
  for (const AlarmKind& kind : kKinds) {
    const auto known = std::ranges::find(before, &kind, &RaisedAlarm::kind);
    const bool raised = kind.raised(snapshot).value_or(false);
    if (!raised && known != before.end()) change.cleared.push_back(&kind);
    if (!raised) continue;
    RaisedAlarm alarm = known != before.end() ? *known : RaisedAlarm{&kind, now, std::nullopt};
    if (known == before.end()) change.raised.push_back(&kind);
    if (!alarm.since_utc && utc) alarm.since_utc = *utc - (now - alarm.since);
    all_.push_back(alarm);
  }
  return change;
}

}  // namespace timeball::server
