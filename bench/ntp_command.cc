// `ntsload ntp`: its options, its shots, its report.

#include <spdlog/fmt/fmt.h>

#include <CLI/CLI.hpp>
#include <optional>

#include "bench/load_command.h"
#include "bench/ntp_load.h"
#include "bench/ramp_search.h"
#include "common/ntp/packet.h"
#include "common/nts/ke_record.h"
#include "common/time/duration_text.h"

namespace timeball::bench {
namespace {

using namespace std::chrono_literals;

constexpr double kForeignRate = 100;  // per second, at a server that is not on this machine
constexpr double kMaxRate = 1e7;
constexpr Duration kStepWarmUp = 100ms;  // before each step of a ramp
// In an open loop a thread remembers what it sends within the timeout, in a closed one what it may
// send within a second or so; 88 octets each.
constexpr std::size_t kMinCapacity = 1 << 16;
constexpr std::size_t kMaxCapacity = 1 << 21;
constexpr std::size_t kClosedCapacity = 1 << 18;
constexpr Duration kMuchLater = 1ms;    // than intended: worth a note
constexpr Duration kFellBehind = 10ms;  // a step of a ramp was not what was asked for

constexpr const char* kLoad = "Load";
constexpr const char* kRequests = "Requests";
constexpr const char* kChecks = "Checks";

struct NtpOptions {
  std::optional<double> rate;
  std::optional<std::size_t> window;
  std::optional<RampLimits> ramp;
  Duration step = 1s;
  double ramp_loss = 0.001;
  std::size_t associations = 100;
  bool plain = false;
  std::optional<RequestMix> mix;
  NtpGunOptions gun;
};

// An option that `parse` reads, whose errors are sentences.
template <class T>
CLI::Option* add_parsed(CLI::App& app, const std::string& name, std::optional<T>& to,
                        Result<T> (*parse)(std::string_view), const std::string& help) {
  return app.add_option_function<std::string>(
      name,
      [&to, parse](const std::string& text) {
        const auto value = parse(text);
        if (!value) throw CLI::ValidationError(value.error().message);
        to = *value;
      },
      help);
}

class NtpCommand : public LoadCommand {
 public:
  std::string_view name() const override { return "ntp"; }
  std::string_view summary() const override {
    return "load an NTP server with requests, with NTS or without";
  }
  std::string_view description() const override;
  void add_options(CLI::App& app) override;
  Result<void> check(const CommonOptions& options) const override;
  std::uint16_t default_port() const override {
    return mix().needs_associations() ? nts::kKePort : ntp::kPort;
  }
  Result<LoadReport> run(const CommonOptions& options, const LoadTarget& target,
                         Progress& progress) override;

 private:
  void add_load_options(CLI::App& app);
  void add_request_options(CLI::App& app);
  void add_check_options(CLI::App& app);
  RequestMix mix() const {
    return options_.mix.value_or(
        RequestMix::only(options_.plain ? RequestKind::kPlain : RequestKind::kNts));
  }
  NtpShot shot(const CommonOptions& options, const LoadTarget& target) const;
  NtpGunOptions gun_options(const NtpShot& shot, unsigned threads) const;
  std::string summarize(const CommonOptions& options, const NtpShot& shot) const;
  Result<LoadReport> shoot_once(NtpLoad& load, const CommonOptions& options, const NtpShot& shot,
                                Progress& progress) const;
  Result<LoadReport> shoot_ramp(NtpLoad& load, const CommonOptions& options,
                                Progress& progress) const;
  LoadReport make_report(const NtpHit& hit, bool open_loop) const;

  NtpOptions options_;
};

std::string_view NtpCommand::description() const {
  return "Sends NTP requests and checks every reply: origin timestamp, unique identifier, "
         "authenticator, stratum, the order of its timestamps, its length, duplicates, nonces and "
         "cookies given before (each thread remembers the last fifty thousand or so). "
         "Associations are made by NTS-KE first; HOST and its port are the NTS-KE server's, which "
         "says where NTP is served. Without NTS (--plain) they are the NTP server's.\n\n"
         "Without --rate and --ramp the loop is closed: --window requests are always under way, "
         "and the next leaves when one is answered or lost. This finds how many the server can "
         "do, but its latency is flattering: while the server stalls, nothing is asked of it. "
         "With --rate the loop is open: the times of the requests are fixed in advance, and "
         "latency is counted from those times, also when a request left later. This is the "
         "latency that clients see. With --ramp the rate rises until replies are lost, and the "
         "highest loss-free rate is searched for; the rest of the report is that rate's.\n\n"
         "--source-net needs a network that is routed to this machine as a whole, best in a "
         "network namespace of its own:\n\n  ip route add local 172.18.0.0/16 dev lo";
}

void NtpCommand::add_options(CLI::App& app) {
  add_load_options(app);
  add_request_options(app);
  add_check_options(app);
}

void NtpCommand::add_load_options(CLI::App& app) {
  CLI::Option* const rate =
      app.add_option("--rate", options_.rate,
                     "Open loop: send so many requests a second. At a server that is not on this "
                     "machine 100 unless --window or --ramp is given")
          ->check(CLI::Range(0.01, kMaxRate))
          ->type_name("R")
          ->group(kLoad);
  CLI::Option* const window =
      app.add_option("--window", options_.window,
                     "Closed loop: requests always under way, 64 unless given")
          ->check(CLI::Range(1, 100000))
          ->type_name("W")
          ->group(kLoad);
  CLI::Option* const ramp =
      add_parsed(app, "--ramp", options_.ramp, parse_ramp,
                 "Open loop, at rising rates: FROM-TO, or FROM-TOxFACTOR (1.3 unless given), as in "
                 "1000-200000x1.3")
          ->type_name("RATES")
          ->group(kLoad);
  rate->excludes(window)->excludes(ramp);
  window->excludes(ramp);
  add_duration(
      app, "--step", kLoad, 50ms, options_.step, [this](Duration d) { options_.step = d; },
      "How long each rate of a ramp is held");
  add_share(
      app, "--ramp-loss", kLoad, [this](double share) { options_.ramp_loss = share; },
      "A rate at which no larger share than this is lost counts as loss-free")
      ->default_str("0.1%");
  add_parsed(app, "--source-net", options_.gun.source_net, net::IpPrefix::parse,
             "Send from every address of this network in turn")
      ->type_name("PREFIX")
      ->group(kLoad);
  const std::map<std::string, std::optional<net::XdpMode>> ways = {
      {"sockets", std::nullopt},
      {"xdp", net::XdpMode::kAuto},
      {"xdp-native", net::XdpMode::kNative},
      {"xdp-generic", net::XdpMode::kGeneric}};
  app.add_option_function<std::string>(
         "--io", [this, ways](const std::string& way) { options_.gun.xdp = ways.at(way); },
         "sockets, or past them by AF_XDP (xdp: native where the driver has it, xdp-native, "
         "xdp-generic): several times the load from one CPU, to a neighbour, as root")
      ->check(CLI::IsMember(ways))
      ->type_name("WAY")
      ->default_str("sockets")
      ->group(kLoad);
  app.add_option("--sockets", options_.gun.sockets,
                 "Sockets of each thread, so that a server's SO_REUSEPORT spreads the load")
      ->check(CLI::Range(1, 64))
      ->type_name("N")
      ->capture_default_str()
      ->group(kLoad);
}

void NtpCommand::add_request_options(CLI::App& app) {
  CLI::Option* const plain =
      app.add_flag("--plain", options_.plain, "Requests without NTS")->group(kRequests);
  add_parsed(app, "--mix", options_.mix, RequestMix::parse,
             "Several kinds by weight, as in nts=8,plain=1,bad-authenticator=0.5,garbage=0.5. The "
             "server owes no answer to the last two")
      ->type_name("KIND=WEIGHT,...")
      ->excludes(plain)
      ->group(kRequests);
  app.add_option("--associations", options_.associations,
                 "NTS associations, each with an NTS-KE, keys and cookies of its own")
      ->check(CLI::Range(1, 100000))
      ->type_name("N")
      ->capture_default_str()
      ->group(kRequests);
  CLI::Option* const placeholders =
      app.add_option("--placeholders", options_.gun.placeholders,
                     "Cookie placeholders in each request, for so many more cookies back")
          ->check(CLI::Range(0, 7))
          ->type_name("K")
          ->capture_default_str()
          ->group(kRequests);
  app.add_flag("--reuse-cookies,!--faithful", options_.gun.reuse_cookies,
               "Spend the same cookies over and over, as is the default: to a server that keeps "
               "nothing they are as good as new. --faithful spends each once and takes new ones "
               "from the replies, asking for as many as it lacks")
      ->excludes(placeholders)
      ->group(kRequests);
}

void NtpCommand::add_check_options(CLI::App& app) {
  add_duration(
      app, "--reply-timeout", kChecks, 1ms, options_.gun.timeout,
      [this](Duration d) { options_.gun.timeout = d; },
      "A request without a reply for so long is lost");
  app.add_option("--check-all-up-to", options_.gun.verify.all_up_to,
                 "Verify the authenticator of every reply up to so many a second")
      ->check(CLI::Range(0.0, kMaxRate))
      ->type_name("R")
      ->capture_default_str()
      ->group(kChecks);
  app.add_option("--check-one-in", options_.gun.verify.then_one_in,
                 "Beyond that verify one in so many; everything else is checked in all of them. "
                 "--faithful verifies all")
      ->check(CLI::Range(1, 1000000))
      ->type_name("N")
      ->capture_default_str()
      ->group(kChecks);
  app.add_flag("--same-clock", options_.gun.same_clock,
               "The server reads the same clock as this machine's kernel: report also how long "
               "after T3 a reply reached us, and how long after a request left T2 was taken")
      ->group(kChecks);
}

Result<void> NtpCommand::check(const CommonOptions& options) const {
  if (mix().needs_associations() && options_.associations < options.threads) {
    return fail(fmt::format("--associations {} is less than --threads {}: give each thread one",
                            options_.associations, options.threads));
  }
  if (mix().share(RequestKind::kPlain) + mix().share(RequestKind::kNts) == 0) {
    return fail("--mix needs some plain or nts: to the other kinds the server owes no answer");
  }
  if (options_.gun.xdp && options_.gun.source_net) {
    return fail(
        "--source-net does not go with --io xdp: replies come back to our own address only");
  }
  return {};
}

NtpShot NtpCommand::shot(const CommonOptions& options, const LoadTarget& target) const {
  NtpShot shot;
  shot.warm_up = options.warm_up;
  shot.duration = options.duration;
  if (options_.ramp) {
    shot.rate = options_.ramp->to;
  } else if (options_.rate) {
    shot.rate = *options_.rate;
  } else if (!target.local && !options_.window) {
    shot.rate = kForeignRate;
  } else {
    shot.window = options_.window.value_or(64);
  }
  return shot;
}

NtpGunOptions NtpCommand::gun_options(const NtpShot& shot, unsigned threads) const {
  NtpGunOptions gun = options_.gun;
  gun.mix = mix();
  const double timeout_s = std::chrono::duration<double>(gun.timeout).count();
  const double under_way = 1.25 * timeout_s * shot.rate / threads;
  gun.capacity = shot.rate > 0
                     ? std::clamp(static_cast<std::size_t>(under_way), kMinCapacity, kMaxCapacity)
                     : kClosedCapacity;
  return gun;
}

std::string NtpCommand::summarize(const CommonOptions& options, const NtpShot& shot) const {
  std::string text;
  if (options_.ramp) {
    text = fmt::format("ramp, {:g} to {:g} a second", options_.ramp->from, options_.ramp->to);
  } else if (shot.rate > 0) {
    text = fmt::format("open loop, {:g} a second", shot.rate);
  } else {
    text = fmt::format("closed loop, {} under way", shot.window);
  }
  text +=
      fmt::format("; {}; {}", mix().to_string(),
                  options.threads == 1 ? "1 thread" : fmt::format("{} threads", options.threads));
  if (mix().needs_associations()) {
    text += fmt::format("; {} associations, cookies {}", options_.associations,
                        options_.gun.reuse_cookies ? "reused" : "spent once");
    if (options_.gun.placeholders > 0)
      text += fmt::format(", {} placeholders", options_.gun.placeholders);
  }
  return text;
}

LoadReport NtpCommand::make_report(const NtpHit& hit, bool open_loop) const {
  const NtpTally& tally = hit.tally;
  LoadReport report;
  report.seconds = hit.seconds;
  report.started = tally.started;
  report.done = tally.done();
  report.timeline = hit.timeline;
  for (std::size_t i = 0; i < kNtpEvents; ++i) {
    const NtpEventRow& row = ntp_event_row(static_cast<NtpEvent>(i));
    report.counts.push_back({row.name, row.meaning, tally.events[i], row.failure});
  }
  const auto add = [&report](std::string_view name, std::string_view meaning,
                             const Histogram& values) {
    report.histograms.push_back({name, meaning, values});
  };
  add("round_trip",
      open_loop ? "from when a request should have left to its reply's arrival"
                : "from when a request left to its reply's arrival",
      tally.round_trip);
  if (open_loop) add("send_delay", "of the round trip, before the request left", tally.send_delay);
  add("residence", "T3 - T2", tally.residence);
  add("offset", "of the server's clock, from a sample", tally.offset);
  if (options_.gun.same_clock) {
    add("t3_to_wire", "from T3 to the reply's arrival", tally.t3_to_wire);
    add("wire_to_t2", "from a request's leaving to T2, from a sample", tally.wire_to_t2);
  }
  if (const std::uint64_t not_verified = tally.of(NtpEvent::kNotVerified); not_verified > 0) {
    const std::uint64_t verified = tally.of(NtpEvent::kVerified);
    report.notes.push_back(
        fmt::format("authenticators verified: {} of {} (all up to {:g} a "
                    "second, then 1 in {})",
                    verified, verified + not_verified, options_.gun.verify.all_up_to,
                    options_.gun.verify.then_one_in));
  }
  if (const Duration late = tally.send_delay.quantile(0.5); late >= kMuchLater) {
    report.notes.push_back(fmt::format(
        "this load generator fell behind: half of its requests left {} or more after they should "
        "have, which their round trip includes; try more --threads, or a lower rate",
        duration_text(late)));
  }
  return report;
}

Result<LoadReport> NtpCommand::shoot_once(NtpLoad& load, const CommonOptions& options,
                                          const NtpShot& shot, Progress& progress) const {
  CpuMeter meter(options.server_pid, options.server_also);
  const auto hit = load.shoot(shot, meter, progress);
  if (!hit) return tl::unexpected(hit.error());
  LoadReport report = make_report(**hit, shot.rate > 0);
  meter.fill(report);
  return report;
}

Result<LoadReport> NtpCommand::shoot_ramp(NtpLoad& load, const CommonOptions& options,
                                          Progress& progress) const {
  RampSearch search(*options_.ramp);
  LoadReport best;
  std::vector<RampStep> steps;
  bool fell_behind = false;
  while (const auto rate = search.next()) {
    auto report = shoot_once(load, options, {*rate, 0, kStepWarmUp, options_.step}, progress);
    if (!report) return report;
    const Histogram& latency = report->histograms[0].values;
    const bool late = report->histograms[1].values.quantile(0.5) >= kFellBehind;
    const bool lost = report->loss() > options_.ramp_loss;
    steps.push_back({*rate, static_cast<double>(report->started) / report->seconds, report->rate(),
                     report->loss(), latency.quantile(0.5), latency.quantile(0.99)});
    search.report(lost || late);
    fell_behind |= late && !lost;
    if (search.best() == *rate || !search.best()) best = std::move(*report);
  }
  best.ramp = std::move(steps);
  best.loss_free_rate = search.best();
  if (fell_behind) {
    best.notes.push_back(
        "some rates were given up because this load generator fell behind, not for loss: the "
        "server may do more; try more --threads");
  }
  return best;
}

Result<LoadReport> NtpCommand::run(const CommonOptions& options, const LoadTarget& target,
                                   Progress& progress) {
  std::vector<KeAssociation> associations;
  options_.gun.plain_server = target.endpoint;
  if (mix().needs_associations()) {
    auto made = establish(target, options.ke, options_.associations, options.own_server);
    if (!made) return tl::unexpected(made.error());
    associations = std::move(*made);
    options_.gun.plain_server = associations.front().ntp_server;
  }
  const NtpShot shot = this->shot(options, target);
  const auto load =
      NtpLoad::make(gun_options(shot, options.threads), options.threads, associations);
  if (!load) return tl::unexpected(load.error());
  auto report = options_.ramp ? shoot_ramp(**load, options, progress)
                              : shoot_once(**load, options, shot, progress);
  if (report) report->summary = summarize(options, shot);
  return report;
}

}  // namespace

std::unique_ptr<LoadCommand> make_ntp_command() {
  return std::make_unique<NtpCommand>();
}

}  // namespace timeball::bench
