#include "bench/ntp_load.h"

#include <future>
#include <latch>
#include <string>

#include "bench/load_options.h"
#include "common/base/cpus.h"

namespace timeball::bench {
namespace {

constexpr auto kSettle = std::chrono::milliseconds(20);  // for the threads to be there

}  // namespace

Result<std::unique_ptr<NtpLoad>> NtpLoad::make(const NtpGunOptions& options, unsigned threads,
                                               const std::vector<KeAssociation>& associations) {
  std::unique_ptr<NtpLoad> load(new NtpLoad);
  std::vector<std::unique_ptr<net::UdpBatch>> queues;
  if (options.xdp) {
    auto path =
        XdpPath::open(associations.empty() ? options.plain_server : associations.front().ntp_server,
                      *options.xdp);
    if (!path) return tl::unexpected(path.error());
    load->path_ = std::move(*path);
    queues = load->path_->batches();
    if (queues.size() < threads) {
      return fail("--io xdp: the interface has " + std::to_string(queues.size()) +
                  " queues; lower --threads to that");
    }
  }
  for (unsigned i = 0; i < threads; ++i) {
    std::vector<KeAssociation> own;
    for (std::size_t a = i; a < associations.size(); a += threads) own.push_back(associations[a]);
    auto gun = NtpGun::make(options, i, threads, own, options.xdp ? std::move(queues[i]) : nullptr);
    if (!gun) return tl::unexpected(gun.error());
    load->guns_.push_back(std::move(*gun));
  }
  return load;
}

Result<std::unique_ptr<NtpHit>> NtpLoad::shoot(const NtpShot& shot, CpuMeter& meter,
                                               Progress& progress) {
  const SteadyTime start = std::chrono::steady_clock::now() + kSettle;
  const SteadyTime begin = start + shot.warm_up;
  Timeline timeline({begin, begin + shot.duration});
  std::latch metered(1);
  std::vector<std::future<void>> threads;
  for (std::size_t i = 0; i < guns_.size(); ++i) {
    const NtpVolley volley = {start, shot.rate, share_of(shot.window, i, guns_.size())};
    const std::optional<unsigned> cpu = usable_cpu(static_cast<unsigned>(i));
    threads.push_back(std::async(std::launch::async, [&, i, volley, cpu] {
      if (cpu) pin_to_cpu(*cpu);
      guns_[i]->shoot(volley, timeline);
      metered.wait();
    }));
  }
  const auto watched = watch(timeline, meter, progress);
  metered.count_down();
  auto hit = std::make_unique<NtpHit>();
  for (std::size_t i = 0; i < guns_.size(); ++i) {
    threads[i].get();
    hit->tally.merge(guns_[i]->tally());
  }
  if (!watched) return tl::unexpected(watched.error());
  hit->seconds = timeline.window().seconds();
  hit->timeline = timeline.finish();
  return hit;
}

}  // namespace timeball::bench
