// One thread of the NTP load: its sockets, its associations, its requests under way.
//
// A batch in, a batch out: what is due is made in one burst and sent by one call, and what one call
// receives is checked in one burst. No allocation per packet.
//
// Thread rules: made and asked for its tally by the main thread; shoot() is the life of a thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "bench/arrival_schedule.h"
#include "bench/cookie_jar.h"
#include "bench/ke_client.h"
#include "bench/ntp_tally.h"
#include "bench/outstanding.h"
#include "bench/recently_seen.h"
#include "bench/request_mix.h"
#include "bench/source_addresses.h"
#include "bench/timeline.h"
#include "bench/verify_sampler.h"
#include "common/base/error.h"
#include "common/crypto/aead.h"
#include "common/crypto/random.h"
#include "common/net/udp_batch.h"
#include "common/net/xdp_interface.h"
#include "common/nts/client.h"

namespace timeball::bench {

// What all threads of a load have in common.
struct NtpGunOptions {
  RequestMix mix = RequestMix::only(RequestKind::kNts);
  std::size_t placeholders = 0;  // reused cookies only; faithful ones ask for what is missing
  bool reuse_cookies = true;
  std::optional<net::IpPrefix> source_net;
  bool same_clock = false;
  Duration timeout = std::chrono::seconds(1);
  VerifyLimits verify;              // of all threads together
  unsigned sockets = 8;             // of each thread: servers with SO_REUSEPORT spread them
  std::optional<net::XdpMode> xdp;  // past the sockets: each thread has a queue of the interface
  std::size_t capacity = 1 << 16;   // requests of one thread that are remembered
  net::Endpoint plain_server;       // where requests without NTS go
};

// One load: until the timeline's window is over.
struct NtpVolley {
  SteadyTime start;        // of the warm-up
  double rate = 0;         // open loop, per second, of all threads; 0: closed loop
  std::size_t window = 0;  // closed loop: requests always under way, of this thread
};

class NtpGun {
 public:
  // instead: of sockets. Fails when a socket cannot be had, or a request would be longer than a
  // datagram may be. Requires associations when the mix needs them.
  static Result<std::unique_ptr<NtpGun>> make(const NtpGunOptions& options, unsigned index,
                                              unsigned threads,
                                              std::span<const KeAssociation> associations,
                                              std::unique_ptr<net::UdpBatch> instead = nullptr);
  ~NtpGun();
  NtpGun(const NtpGun&) = delete;
  NtpGun& operator=(const NtpGun&) = delete;

  // Returns when the window is over and what began in it has ended: at most the timeout later, and
  // a moment for second replies.
  void shoot(const NtpVolley& volley, Timeline& timeline);
  // Of the last shoot().
  const NtpTally& tally() const { return *tally_; }

 private:
  static constexpr std::size_t kBurst = net::kBatchCapacity;

  struct Association {
    nts::AssociationKeys keys;
    CookieJar cookies;
    net::Endpoint server;
    std::size_t expected = 0;  // cookies, from requests under way
  };
  // One load's own.
  struct Run;

  NtpGun(const NtpGunOptions& options, unsigned index, unsigned threads,
         std::span<const KeAssociation> associations);
  Result<void> open_sockets();
  Result<void> watch(const net::UdpBatch& batch);  // the next of sockets_
  Result<void> check_lengths() const;
  std::size_t placeholders(const Association& association) const;

  // Out.
  std::size_t choose(Run& run);
  void send(Run& run, std::size_t count);
  void compose(net::Datagram& datagram, SteadyTime intended);
  Association* next_association();
  void add_job(net::Datagram& datagram, SentRecord& record, Association* association);
  void write_garbage(net::Datagram& datagram, const SentRecord& record);
  void finish_requests();
  void launch(Run& run);
  void take_transmit_times(net::UdpBatch& socket);

  // In.
  void receive(Run& run, SteadyTime until);
  void take_in(Run& run, net::UdpBatch& socket);
  void match(const net::Datagram& datagram);
  // reply: index in the burst.
  void judge(Run& run, std::size_t reply);
  std::optional<NtpEvent> fault(std::size_t reply);
  std::optional<NtpEvent> nts_fault(std::size_t reply);
  void record_times(const ntp::Header& header, const SentRecord& record, KernelTime receive_time);
  void settled(const SentRecord& record);
  void fail(Run& run, const SentRecord& record, NtpEvent event);
  void expire(Run& run);
  void count(const SentRecord& record, NtpEvent event) {
    if (record.measured) tally_->add(event);
  }
  net::UdpCounters counters() const;

  const NtpGunOptions options_;
  const unsigned index_;
  const unsigned threads_;
  crypto::Engine engine_;
  crypto::RandomGenerator random_;
  std::vector<Association> associations_;
  std::size_t next_association_ = 0;
  std::optional<SourceAddresses> sources_;
  OutstandingTable outstanding_;
  RecentlySeen nonces_;
  RecentlySeen cookies_;
  VerifySampler sampler_;
  std::unique_ptr<NtpTally> tally_ = std::make_unique<NtpTally>();

  std::size_t owed_ = 0;  // requests under way that the server owes an answer

  std::vector<std::unique_ptr<net::UdpBatch>> sockets_;
  std::size_t next_socket_ = 0;
  // Theirs. None for AF_XDP: an epoll stays on its sockets' wait queues, and who frees a packet,
  // the server's receiving thread over a veth, would look there each time whether to wake us.
  int poll_ = -1;
  SteadyTime next_stamp_{};  // when another transmit time is wanted

  // The burst at hand.
  std::array<SteadyTime, kBurst> intended_;
  std::size_t sent_ = 0;  // of sent_records_
  std::array<SentRecord*, kBurst> sent_records_;
  std::size_t requests_ = 0;  // of the next two
  std::array<nts::RequestJob, kBurst> request_jobs_;
  std::array<SentRecord*, kBurst> request_records_;
  std::size_t replies_ = 0;  // of the next four
  std::array<nts::ReplyJob, kBurst> reply_jobs_;
  std::array<SentRecord*, kBurst> reply_records_;
  std::array<const net::Datagram*, kBurst> reply_datagrams_;
  std::array<std::uint64_t, kBurst> nonce_prints_;
  std::vector<std::array<std::uint8_t, net::kMaxDatagram>> rooms_;
};

}  // namespace timeball::bench
