#include "server/query_ntp.h"

#include <poll.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/base/printable.h"
#include "common/time/ntp_timestamp.h"

namespace timeball::server {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kGrace{500};  // for a better reply after one that is refused
constexpr std::size_t kCookiesKept = 8;

UtcTime from_timespec(const timespec& t) {
  return {t.tv_sec * kNsPerSecond + t.tv_nsec};
}

// The operator's clock, taken at its word: what it is wrong by is what the offset will tell.
UtcTime read_clock() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return from_timespec(now);
}

struct Received {
  std::vector<std::uint8_t> packet;
  UtcTime time;
  bool kernel_timestamp = false;
  int error = 0;  // errno; the packet is then empty
};

Received receive(int fd) {
  Received received{std::vector<std::uint8_t>(65536), {}, false, 0};
  alignas(cmsghdr) std::array<char, 256> control{};
  iovec part{received.packet.data(), received.packet.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t length = ::recvmsg(fd, &message, 0);
  received.error = length < 0 ? errno : 0;
  received.time = read_clock();
  received.packet.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
  if (length < 0) return received;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec stamp{};
    std::memcpy(&stamp, CMSG_DATA(c), sizeof(stamp));
    received.time = from_timespec(stamp);
    received.kernel_timestamp = true;
  }
  return received;
}

std::string kiss_code(std::uint32_t code) {
  std::array<std::uint8_t, 4> octets{};
  store_be32(octets.data(), code);
  const std::string_view text(reinterpret_cast<const char*>(octets.data()), octets.size());
  return printable(text.substr(0, text.find('\0')));
}

QueryFailure explain_nak(const nts::ClientAssociation& association) {
  std::string cure =
      "the NTP server cannot open cookies of this NTS-KE server: do both share their master keys "
      "(a "
      "cluster, record 6), and did the keys survive a restart?";
  if (association.keys.aead == crypto::AeadId::kAes128GcmSiv)
    cure += " An exporter context that differs does this too: try --aead 15";
  return {QueryStatus::kRefused, "NTS NAK: the server refuses the cookie it was sent", cure};
}

QueryFailure explain_kiss(std::uint32_t code) {
  const std::string cause = "kiss code " + kiss_code(code) + " instead of the time";
  if (code == ntp::kKissRate)
    return {QueryStatus::kRefused, cause, "the server limits the rate: wait, and use --interval"};
  if (code == ntp::kKissDeny || code == ntp::ascii_code("RSTR"))
    return {QueryStatus::kRefused, cause, "the server's access rules deny this address"};
  return {QueryStatus::kUnsynchronised, cause, "the server has no time to give: see its log"};
}

QueryFailure explain_refusal(nts::ReplyStatus status, const ntp::Header& header,
                             const nts::ClientAssociation* association) {
  switch (status) {
    case nts::ReplyStatus::kNtsNak:
      return association != nullptr ? explain_nak(*association) : explain_kiss(header.reference_id);
    case nts::ReplyStatus::kKissCode:
      return explain_kiss(header.reference_id);
    case nts::ReplyStatus::kMissingAuthenticator:
      return {
          QueryStatus::kNotAuthentic, "the reply carries no NTS authenticator",
          "the NTP server ignores NTS: is NTP on this port served by the same software as NTS-KE?"};
    case nts::ReplyStatus::kLongerThanRequest:
      return {QueryStatus::kNotAuthentic, "the reply is longer than the request",
              "the server breaks RFC 8915 (it could amplify attacks): report it to its maker"};
    default:
      return {
          QueryStatus::kNotAuthentic, "not authentic: the reply's authenticator does not verify",
          "somebody alters packets on the way, or the NTP server derives other keys than we do"};
  }
}

bool tells_time(const ntp::Header& header) {
  return header.leap != LeapIndicator::kUnknown && header.stratum >= 1 &&
         header.stratum < kMaxStratum;
}

void accept(NtpExchange& exchange, const nts::NtpReply& reply, UtcTime sent,
            const Received& received) {
  exchange.authentic = true;
  exchange.cookies_back = reply.new_cookies;
  exchange.kernel_timestamp = received.kernel_timestamp;
  const ClockSample sample =
      clock_sample(NtpTimestamp::from_utc(sent), reply.header.receive, reply.header.transmit,
                   NtpTimestamp::from_utc(received.time));
  exchange.offset = sample.offset;
  exchange.delay = sample.delay;
  exchange.failure.reset();
  if (!tells_time(reply.header)) {
    exchange.failure = {QueryStatus::kUnsynchronised,
                        "the reply is in order, but the server is not synchronised",
                        "it has no time source yet: see its reference clocks and its log"};
  }
}

// Reads replies until one is in order, or time is up.
void await_reply(const Socket& socket, Deadline deadline, const nts::SentRequest& request,
                 UtcTime sent, nts::ClientAssociation* association, crypto::Engine& engine,
                 NtpExchange& exchange) {
  while (wait_for(socket.fd(), POLLIN, deadline)) {
    const Received received = receive(socket.fd());
    if (received.error == ECONNREFUSED) {
      exchange.failure = {
          QueryStatus::kNoReply, "nothing listens on the server's NTP port (UDP)",
          "is NTP served there, on this port (--ntp-port) and in this address family (-4, -6)?"};
      return;
    }
    if (received.error != 0) continue;
    const nts::NtpReply reply = nts::accept_reply(received.packet, request, association, engine);
    if (reply.status == nts::ReplyStatus::kNotForThisRequest) {
      ++exchange.ignored;
      continue;
    }
    exchange.reply_length = received.packet.size();
    exchange.header = reply.header;
    if (reply.status == nts::ReplyStatus::kAuthentic)
      return accept(exchange, reply, sent, received);
    exchange.failure = explain_refusal(reply.status, reply.header, association);
    deadline = std::min(deadline, steady_clock::now() + kGrace);
  }
}

Result<nts::SentRequest> make_request(nts::ClientAssociation* association, crypto::Engine& engine,
                                      crypto::RandomGenerator& random) {
  if (association == nullptr) return nts::make_plain_request(random);
  nts::NtpRequestOptions options;
  // Asks for as many cookies as are missing once one is spent, beyond the one that comes anyway.
  options.placeholders = kCookiesKept - std::min(kCookiesKept, association->cookies.size());
  return nts::make_nts_request(*association, options, engine, random);
}

}  // namespace

QueryResult<Socket> open_ntp_socket(const net::Endpoint& server) {
  Socket socket(::socket(server.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  const socklen_t length = server.to_sockaddr(address);
  const int on = 1;
  if (socket.fd() < 0 ||
      ::setsockopt(socket.fd(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) != 0 ||
      ::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), length) != 0)
    return tl::unexpected(explain_connect_error(errno, server));
  return socket;
}

NtpExchange exchange_ntp(const Socket& socket, const QueryOptions& options,
                         nts::ClientAssociation* association, crypto::Engine& engine,
                         crypto::RandomGenerator& random) {
  NtpExchange exchange;
  const Result<nts::SentRequest> request = make_request(association, engine, random);
  if (!request) {
    exchange.failure = {QueryStatus::kNotAuthentic,
                        "no request can be made: " + request.error().message,
                        "the server gives back too few cookies, or none"};
    return exchange;
  }
  exchange.request_length = request->packet.size();
  const UtcTime sent = read_clock();
  if (::send(socket.fd(), request->packet.data(), request->packet.size(), 0) < 0) {
    exchange.failure = {QueryStatus::kNoReply,
                        std::string("cannot send the NTP request: ") + std::strerror(errno),
                        "check this machine's network and firewall"};
    return exchange;
  }
  await_reply(socket, steady_clock::now() + options.timeout, *request, sent, association, engine,
              exchange);
  return exchange;
}

QueryFailure explain_no_reply(const net::Endpoint& server, std::size_t request_length, bool plain,
                              bool plain_answered) {
  const std::string port = "UDP port " + std::to_string(server.port);
  const std::string cause = "no reply to the NTP request of " + std::to_string(request_length) +
                            " octets to " + server.to_string();
  if (plain) {
    return {QueryStatus::kNoReply, cause,
            "is NTP served there, does a firewall drop " + port +
                ", or do the server's access rules or rate limit deny this address?"};
  }
  if (!plain_answered) {
    return {QueryStatus::kNoReply, cause + ", nor to one of 48 octets without NTS",
            "is NTP served there, does a firewall drop " + port +
                ", or does the server deny this address?"};
  }
  return {QueryStatus::kNoReply, cause + ", though one of 48 octets without NTS is answered",
          "perhaps a filter on long packets to " + port +
              ": serve NTP on another port (NTS-KE record 7, `nts_ke.port`), or use the shorter "
              "packets of AEAD 30; or the server's NTP side does not do NTS"};
}

}  // namespace timeball::server
