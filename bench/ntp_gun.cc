#include "bench/ntp_gun.h"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <string>

#include "common/crypto/entropy.h"
#include "common/ntp/packet.h"

namespace timeball::bench {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kOriginOffset = 24;  // in a reply's header
constexpr unsigned kSeenBits = 16;         // 512 KiB each of cookies and nonces
constexpr std::size_t kMaxGarbage = 512;   // octets
constexpr Duration kBetweenStamps = 1ms;   // a transmit time costs as much as a datagram
constexpr Duration kLongestWait = 10ms;
constexpr Duration kLinger = 50ms;         // for second replies to the last requests
constexpr unsigned kReservedStratum = 17;  // from here up; RFC 5905, figure 11

KernelTime read_kernel_time() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return {now.tv_sec * kNsPerSecond + now.tv_nsec};
}

// What makes a KernelTime of now a SteadyTime. The two clocks are read next to each other, again
// when something came in between.
Duration kernel_to_steady() {
  Duration best_gap = Duration::max();
  Duration best{};
  for (int i = 0; i < 5 && best_gap > 1us; ++i) {
    const SteadyTime before = Clock::now();
    const KernelTime kernel = read_kernel_time();
    const Duration gap = Clock::now() - before;
    if (gap >= best_gap) continue;
    best_gap = gap;
    best = before.time_since_epoch() + gap / 2 - Duration(kernel.ns);
  }
  return best;
}

NtpTimestamp timestamp(KernelTime t) {
  return NtpTimestamp::from_utc(UtcTime{t.ns});
}

NtpEvent kiss_event(std::uint32_t code) {
  if (code == ntp::kKissRate) return NtpEvent::kKissRate;
  const bool denied = code == ntp::kKissDeny || code == ntp::ascii_code("RSTR");
  return denied ? NtpEvent::kKissDeny : NtpEvent::kKissOther;
}

bool tells_time(const ntp::Header& header) {
  return header.leap != LeapIndicator::kUnknown && header.stratum >= 1 &&
         header.stratum < kMaxStratum;
}

NtpEvent sent_event(RequestKind kind) {
  switch (kind) {
    case RequestKind::kPlain:
      return NtpEvent::kSentPlain;
    case RequestKind::kNts:
      return NtpEvent::kSentNts;
    case RequestKind::kBadAuthenticator:
      return NtpEvent::kSentBadAuthenticator;
    case RequestKind::kGarbage:
      break;
  }
  return NtpEvent::kSentGarbage;
}

std::uint64_t random64(crypto::RandomGenerator& random) {
  std::array<std::uint8_t, 8> octets;
  random.fill(octets);
  return load_be64(octets.data());
}

}  // namespace

struct NtpGun::Run {
  Run(const NtpVolley& v, Timeline& timeline, unsigned index, unsigned threads)
      : volley(v), window(timeline.window()), writer(timeline), interval(timeline.interval()) {
    if (v.rate > 0) schedule.emplace(v.start, window.end - v.start, v.rate, index, threads);
  }

  const NtpVolley& volley;
  const Window window;
  TimelineWriter writer;
  const Duration interval;
  std::optional<ArrivalSchedule> schedule;  // open loop
  SteadyTime now{};                         // when the burst at hand was taken up
  Duration kernel_to_steady{};
  SteadyTime next_flush{};

  bool all_sent() const { return schedule ? schedule->finished() : now >= window.end; }
};

Result<std::unique_ptr<NtpGun>> NtpGun::make(const NtpGunOptions& options, unsigned index,
                                             unsigned threads,
                                             std::span<const KeAssociation> associations,
                                             std::unique_ptr<net::UdpBatch> instead) {
  std::unique_ptr<NtpGun> gun(new NtpGun(options, index, threads, associations));
  if (const auto fit = gun->check_lengths(); !fit) return tl::unexpected(fit.error());
  if (instead) {
    gun->sockets_.push_back(std::move(instead));
  } else if (const auto opened = gun->open_sockets(); !opened) {
    return tl::unexpected(opened.error());
  }
  return gun;
}

NtpGun::NtpGun(const NtpGunOptions& options, unsigned index, unsigned threads,
               std::span<const KeAssociation> associations)
    : options_(options),
      index_(index),
      threads_(threads),
      random_(crypto::seeded_generator()),
      outstanding_(options.capacity, random64(random_)),
      nonces_(kSeenBits),
      cookies_(kSeenBits),
      sampler_({options.verify.all_up_to / threads, options.verify.then_one_in}),
      rooms_(kBurst) {
  if (options.source_net) sources_.emplace(*options.source_net, index, threads);
  for (const KeAssociation& a : associations) {
    associations_.push_back({a.association.keys,
                             CookieJar(a.association.cookies, options.reuse_cookies),
                             a.ntp_server});
    for (const auto& cookie : a.association.cookies) {
      cookies_.again(RecentlySeen::fingerprint(cookie, 0));
    }
  }
}

NtpGun::~NtpGun() {
  if (poll_ >= 0) close(poll_);
}

Result<void> NtpGun::watch(const net::UdpBatch& batch) {
  if (poll_ < 0) poll_ = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u32 = static_cast<std::uint32_t>(sockets_.size());
  if (poll_ < 0 || epoll_ctl(poll_, EPOLL_CTL_ADD, batch.wait_handle(), &event) != 0) {
    return timeball::fail(std::string("cannot poll a socket: ") + std::strerror(errno));
  }
  return {};
}

Result<void> NtpGun::open_sockets() {
  const int family =
      (associations_.empty() ? options_.plain_server : associations_.front().server).family();
  for (unsigned i = 0; i < options_.sockets; ++i) {
    const auto socket = net::open_client_socket(family);
    if (!socket) return tl::unexpected(socket.error());
    auto batch = net::make_udp_batch(*socket, net::IoBackend::kAuto);
    if (!batch) return tl::unexpected(batch.error());
    if (auto watched = watch(**batch); !watched) return watched;
    sockets_.push_back(std::move(*batch));
  }
  return {};
}

Result<void> NtpGun::check_lengths() const {
  for (Association association : associations_) {
    nts::RequestJob job;
    job.keys = &association.keys;
    job.cookie = association.cookies.take().octets;
    job.options.placeholders =
        options_.reuse_cookies ? options_.placeholders : CookieJar::kRoom - 1;
    if (nts::request_length(job) <= net::kMaxDatagram) continue;
    return timeball::fail("the server's cookies of " + std::to_string(job.cookie.size()) +
                          " octets make requests longer than " + std::to_string(net::kMaxDatagram) +
                          " octets: ask for fewer with --placeholders");
  }
  return {};
}

void NtpGun::shoot(const NtpVolley& volley, Timeline& timeline) {
  *tally_ = {};
  const net::UdpCounters before = counters();
  Run run(volley, timeline, index_, threads_);
  run.now = Clock::now();
  while (!run.all_sent() || outstanding_.waiting() > 0) {
    SteadyTime until = run.now + kLongestWait;
    if (run.now < volley.start) {
      until = volley.start;
    } else if (const std::size_t count = choose(run); count > 0) {
      send(run, count);
      until = run.now;
    } else if (run.schedule && !run.all_sent()) {
      until = std::min(until, run.schedule->next());
    }
    receive(run, until);
    expire(run);
  }
  const SteadyTime end = run.now + kLinger;
  while (run.now < end) receive(run, end);
  run.writer.flush(run.now);
  const net::UdpCounters after = counters();
  tally_->add(NtpEvent::kSendRefused, after.send_refused - before.send_refused);
  // What the kernel cut off was longer than any request.
  tally_->add(NtpEvent::kLongerThanRequest, after.truncated - before.truncated);
}

net::UdpCounters NtpGun::counters() const {
  net::UdpCounters sum;
  for (const auto& socket : sockets_) {
    sum.send_refused += socket->counters().send_refused;
    sum.truncated += socket->counters().truncated;
  }
  return sum;
}

// How many to send now, as many intended times of them with it.
std::size_t NtpGun::choose(Run& run) {
  std::size_t most = std::min(kBurst, outstanding_.room());
  if (run.schedule) {
    std::size_t count = 0;
    while (count < most && run.schedule->due(run.now)) intended_[count++] = run.schedule->take();
    return count;
  }
  if (run.all_sent() || owed_ >= run.volley.window) return 0;
  return std::min(most, run.volley.window - owed_);
}

void NtpGun::send(Run& run, std::size_t count) {
  net::UdpBatch& socket = *sockets_[next_socket_];
  next_socket_ = (next_socket_ + 1) % sockets_.size();
  const std::span<net::Datagram> datagrams = socket.compose(count);
  if (datagrams.size() < count) {  // by AF_XDP, when the device is behind
    tally_->add(NtpEvent::kSendRefused, count - datagrams.size());
    count = datagrams.size();
  }
  sent_ = requests_ = 0;
  for (std::size_t i = 0; i < count; ++i) compose(datagrams[i], intended_[i]);
  finish_requests();
  launch(run);
  if (sent_ > 0 && run.now >= next_stamp_) {
    const auto first =
        std::ranges::find_if(datagrams, [](const auto& d) { return d.reply_length > 0; });
    first->want_transmit_time = true;
    first->transmit_key = outstanding_.index_of(*sent_records_[0]);
    next_stamp_ = run.now + kBetweenStamps;
  }
  socket.send(datagrams);
  take_transmit_times(socket);
}

// Without a cookie nothing is sent.
void NtpGun::compose(net::Datagram& datagram, SteadyTime intended) {
  const std::uint64_t random = random64(random_);
  const RequestKind kind = options_.mix.pick(static_cast<std::uint32_t>(random >> 32));
  Association* association = nullptr;
  if (kind == RequestKind::kNts || kind == RequestKind::kBadAuthenticator) {
    association = next_association();
    if (association == nullptr) return tally_->add(NtpEvent::kNoCookie);
  }
  SentRecord& record = outstanding_.add(random);
  record.kind = kind;
  record.intended = intended;
  datagram.peer = association != nullptr ? association->server : options_.plain_server;
  if (sources_) datagram.local = sources_->next();
  if (kind == RequestKind::kGarbage) {
    write_garbage(datagram, record);
  } else {
    add_job(datagram, record, association);
  }
  record.length = static_cast<std::uint16_t>(datagram.reply_length);
  sent_records_[sent_++] = &record;
}

// In turn; one without a cookie is passed over.
NtpGun::Association* NtpGun::next_association() {
  for (std::size_t i = 0; i < associations_.size(); ++i) {
    Association& association = associations_[next_association_];
    next_association_ = next_association_ + 1 == associations_.size() ? 0 : next_association_ + 1;
    if (!association.cookies.empty()) return &association;
  }
  return nullptr;
}

// A faithful client asks for what it lacks, beyond the one that comes anyway.
std::size_t NtpGun::placeholders(const Association& association) const {
  if (options_.reuse_cookies) return options_.placeholders;
  const std::size_t room = association.cookies.room();
  return room > association.expected ? room - association.expected : 0;
}

void NtpGun::add_job(net::Datagram& datagram, SentRecord& record, Association* association) {
  nts::RequestJob& job = request_jobs_[requests_];
  job = {};
  job.transmit = record.transmit;
  if (association != nullptr) {
    record.association = static_cast<std::uint32_t>(association - associations_.data());
    job.options.placeholders = placeholders(*association);
    record.cookies_asked = static_cast<std::uint8_t>(job.options.placeholders + 1);
    association->expected += record.cookies_asked;
    const Cookie& cookie = association->cookies.take();
    job.keys = &association->keys;
    job.cookie = cookie.octets;
    record.cookie_print = cookie.print;
  }
  datagram.reply_length = nts::request_length(job);
  job.packet = datagram.reply_room.first(datagram.reply_length);
  request_records_[requests_++] = &record;
}

// Random octets; the transmit timestamp is ours where there is one, so that an answer is known.
void NtpGun::write_garbage(net::Datagram& datagram, const SentRecord& record) {
  datagram.reply_length = 1 + random_.u32() % kMaxGarbage;
  const MutableBytes octets = datagram.reply_room.first(datagram.reply_length);
  random_.fill(octets);
  if (octets.size() >= ntp::kHeaderLength) {
    store_be64(&octets[ntp::kTransmitOffset], record.transmit.bits);
  }
}

void NtpGun::finish_requests() {
  const auto jobs = std::span(request_jobs_).first(requests_);
  if (!nts::make_requests(jobs, engine_, random_)) {
    throw std::runtime_error("the cryptographic library failed to seal a request");
  }
  for (std::size_t i = 0; i < requests_; ++i) {
    SentRecord& record = *request_records_[i];
    std::ranges::copy(jobs[i].unique_identifier, record.unique_identifier.begin());
    if (record.kind == RequestKind::kBadAuthenticator) jobs[i].packet.back() ^= 1;
  }
}

// What is known only when all of a burst is ready to leave.
void NtpGun::launch(Run& run) {
  run.now = Clock::now();
  for (std::size_t i = 0; i < sent_; ++i) {
    SentRecord& record = *sent_records_[i];
    record.sent = run.now;
    if (!run.schedule) record.intended = run.now;
    record.measured = run.window.contains(record.intended);
    count(record, sent_event(record.kind));
    if (!owed_an_answer(record.kind)) continue;
    ++owed_;
    if (!record.measured) continue;
    ++tally_->started;
    run.writer.started(run.now);
  }
}

void NtpGun::take_transmit_times(net::UdpBatch& socket) {
  for (const net::TransmitTime& t : socket.transmit_times()) {
    SentRecord& record = outstanding_.at(t.key);
    record.transmit_time = t.time;
    record.stamped = true;
  }
}

// Waits for replies, takes in one batch of each socket that has some, and tells the time.
void NtpGun::receive(Run& run, SteadyTime until) {
  const Duration patience = std::max(Duration(0), Duration(until - run.now));
  const timespec timeout{patience / 1s, (patience % 1s).count()};
  if (poll_ < 0) {
    pollfd only{sockets_[0]->wait_handle(), POLLIN, 0};
    if (ppoll(&only, 1, &timeout, nullptr) == 1) take_in(run, *sockets_[0]);
  } else {
    std::array<epoll_event, 64> ready;
    const int count = epoll_pwait2(poll_, ready.data(), ready.size(), &timeout, nullptr);
    for (int i = 0; i < count; ++i) {
      take_in(run, *sockets_[ready[static_cast<std::size_t>(i)].data.u32]);
    }
  }
  run.now = Clock::now();
}

void NtpGun::take_in(Run& run, net::UdpBatch& socket) {
  const auto batch = socket.receive();
  take_transmit_times(socket);
  if (batch.empty()) return;
  run.now = Clock::now();
  run.kernel_to_steady = kernel_to_steady();
  sampler_.advance(run.now);
  replies_ = 0;
  for (const net::Datagram& datagram : batch) match(datagram);
  nts::check_replies(std::span(reply_jobs_).first(replies_), engine_);
  for (std::size_t i = 0; i < replies_; ++i) {
    nonce_prints_[i] =
        RecentlySeen::fingerprint(reply_jobs_[i].nonce, reply_records_[i]->association);
    nonces_.expect(nonce_prints_[i]);
  }
  for (std::size_t i = 0; i < replies_; ++i) judge(run, i);
}

// Finds the request by the origin timestamp; the first reply with it ends the request, whatever
// else it holds.
void NtpGun::match(const net::Datagram& datagram) {
  const Bytes packet = datagram.request;
  if (packet.size() < ntp::kHeaderLength) return tally_->add(NtpEvent::kMalformed);
  SentRecord* const record = outstanding_.find({load_be64(&packet[kOriginOffset])});
  if (record == nullptr) return tally_->add(NtpEvent::kWrongOrigin);
  if (record->state == SentRecord::State::kAnswered) return count(*record, NtpEvent::kDuplicate);
  if (record->state == SentRecord::State::kLost) return count(*record, NtpEvent::kLate);
  outstanding_.answered(*record);
  settled(*record);
  if (record->kind == RequestKind::kGarbage) return count(*record, NtpEvent::kGarbageAnswered);

  nts::ReplyJob& job = reply_jobs_[replies_];
  job = {};
  job.packet = packet;
  job.transmit = record->transmit;
  job.request_length = record->length;
  if (record->kind != RequestKind::kPlain) {
    job.unique_identifier = record->unique_identifier;
    job.keys = &associations_[record->association].keys;
    job.room = rooms_[replies_];
    // A faithful client needs the cookies.
    job.verify = sampler_.take() || !options_.reuse_cookies;
  }
  reply_records_[replies_] = record;
  reply_datagrams_[replies_++] = &datagram;
}

void NtpGun::judge(Run& run, std::size_t reply) {
  const nts::ReplyJob& job = reply_jobs_[reply];
  const SentRecord& record = *reply_records_[reply];
  const net::Datagram& datagram = *reply_datagrams_[reply];
  std::optional<NtpEvent> event = fault(reply);
  if (record.kind == RequestKind::kBadAuthenticator) {
    if (event == NtpEvent::kNak) event = NtpEvent::kBadAuthenticatorNak;
    return count(record, event.value_or(NtpEvent::kBadAuthenticatorAccepted));
  }
  if (event) return fail(run, record, *event);
  if (!record.measured) return;
  if (record.kind == RequestKind::kNts) {
    const bool verified = job.status == nts::ReplyStatus::kAuthentic;
    tally_->add(verified ? NtpEvent::kVerified : NtpEvent::kNotVerified);
  }
  if (!tells_time(job.header)) tally_->add(NtpEvent::kUnsynchronised);
  const SteadyTime received(Duration(datagram.receive_time.ns) + run.kernel_to_steady);
  const Duration latency = received - record.intended;
  tally_->round_trip.record(latency);
  run.writer.done(run.now, latency);
  if (run.schedule) tally_->send_delay.record(record.sent - record.intended);
  record_times(job.header, record, datagram.receive_time);
}

// The first thing that is wrong.
std::optional<NtpEvent> NtpGun::fault(std::size_t reply) {
  const nts::ReplyJob& job = reply_jobs_[reply];
  const ntp::Header& header = job.header;
  switch (job.status) {
    case nts::ReplyStatus::kAuthentic:
    case nts::ReplyStatus::kNotVerified:
      break;
    case nts::ReplyStatus::kNotForThisRequest:
      return header.version == 4 && header.mode == ntp::Mode::kServer
                 ? NtpEvent::kWrongUniqueIdentifier
                 : NtpEvent::kMalformed;
    case nts::ReplyStatus::kLongerThanRequest:
      return NtpEvent::kLongerThanRequest;
    case nts::ReplyStatus::kNtsNak:
      return NtpEvent::kNak;
    case nts::ReplyStatus::kKissCode:
      return kiss_event(header.reference_id);
    case nts::ReplyStatus::kMissingAuthenticator:
      return NtpEvent::kMissingAuthenticator;
    case nts::ReplyStatus::kForged:
      return NtpEvent::kForgedAuthenticator;
  }
  if (job.packet.size() > job.request_length) return NtpEvent::kLongerThanRequest;
  if (header.stratum >= kReservedStratum) return NtpEvent::kBadStratum;
  if (NtpTimestamp::difference(header.transmit, header.receive) < 0ns) return NtpEvent::kT2AfterT3;
  return job.keys == nullptr ? std::nullopt : nts_fault(reply);
}

// What only a memory of earlier replies can tell; takes the cookies.
std::optional<NtpEvent> NtpGun::nts_fault(std::size_t reply) {
  if (nonces_.again(nonce_prints_[reply])) return NtpEvent::kReplayedNonce;
  const SentRecord& record = *reply_records_[reply];
  bool stale = false;
  nts::CookieReader cookies(reply_jobs_[reply].decrypted_fields);
  while (const auto cookie = cookies.next()) {
    const std::uint64_t print = RecentlySeen::fingerprint(*cookie, 0);
    if (cookies_.again(print) || print == record.cookie_print) {
      stale = true;
    } else if (!options_.reuse_cookies) {
      associations_[record.association].cookies.put(*cookie, print);
    }
  }
  return stale ? std::optional(NtpEvent::kStaleCookie) : std::nullopt;
}

void NtpGun::record_times(const ntp::Header& header, const SentRecord& record,
                          KernelTime receive_time) {
  const NtpTimestamp t4 = timestamp(receive_time);
  tally_->residence.record(NtpTimestamp::difference(header.transmit, header.receive));
  if (options_.same_clock) {
    tally_->t3_to_wire.record(NtpTimestamp::difference(t4, header.transmit));
  }
  if (!record.stamped) return;
  const NtpTimestamp t1 = timestamp(record.transmit_time);
  tally_->offset.record(clock_sample(t1, header.receive, header.transmit, t4).offset);
  if (options_.same_clock) {
    tally_->wire_to_t2.record(NtpTimestamp::difference(header.receive, t1));
  }
}

// Answered or lost, it is under way no more.
void NtpGun::settled(const SentRecord& record) {
  if (owed_an_answer(record.kind)) --owed_;
  if (record.cookies_asked > 0) {
    associations_[record.association].expected -= record.cookies_asked;
  }
}

void NtpGun::fail(Run& run, const SentRecord& record, NtpEvent event) {
  if (!record.measured) return;
  tally_->add(event);
  run.writer.failed(run.now);
}

void NtpGun::expire(Run& run) {
  outstanding_.expire(run.now - options_.timeout, [&](const SentRecord& record) {
    settled(record);
    if (owed_an_answer(record.kind)) {
      fail(run, record, NtpEvent::kLost);
    } else if (record.kind == RequestKind::kBadAuthenticator) {
      count(record, NtpEvent::kBadAuthenticatorSilence);
    }
  });
  if (run.now >= run.next_flush) {
    run.writer.flush(run.now);
    run.next_flush = run.now + run.interval;
  }
}

}  // namespace timeball::bench
