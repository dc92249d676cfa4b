// NTS-KE over loopback: a real OpenSSL client against a running KeService.
#include "server/ke_service.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "common/base/log.h"
#include "common/nts/cookie.h"
#include "common/nts/ke_record.h"
#include "server/lab_certificate.h"

namespace timeball::server {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using namespace std::string_literals;
using crypto::AeadId;
using nts::RecordType;
using std::chrono::steady_clock;
using Octets = std::vector<std::uint8_t>;

const LabCertificates& lab() {
  static const LabCertificates made = [] {
    std::string dir = (fs::temp_directory_path() / "timeball-ke-XXXXXX").string();
    const char* path = ::mkdtemp(dir.data());
    static const struct Remover {
      fs::path directory;
      ~Remover() { fs::remove_all(directory); }
    } remover{path};
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return make_lab_certificates(path, {}, {std::chrono::nanoseconds(now).count()}).value();
  }();
  return made;
}

net::Endpoint at(const char* address, std::uint16_t port) {
  return {.address = net::IpAddress::parse(address).value(), .port = port};
}

// Looks again and again, for ten seconds at most.
bool eventually(const std::function<bool()>& holds) {
  const auto give_up = steady_clock::now() + 10s;
  while (!holds()) {
    if (steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

Octets record(bool critical, std::uint16_t type, const Octets& body) {
  Octets out(4 + body.size());
  store_be16(out.data(), static_cast<std::uint16_t>(type | (critical ? 0x8000 : 0)));
  store_be16(out.data() + 2, static_cast<std::uint16_t>(body.size()));
  std::copy(body.begin(), body.end(), out.begin() + 4);
  return out;
}

Octets join(const std::vector<Octets>& parts) {
  Octets out;
  for (const Octets& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

const Octets kNextProtocol = record(true, 1, {0, 0});
const Octets kAead15 = record(true, 4, {0, 15});
const Octets kEnd = record(true, 0, {});
const Octets kRequest = join({kNextProtocol, kAead15, kEnd});
const Octets kErrorBadRequest = join({record(true, 2, {0, 1}), kEnd});
const Octets kErrorInternal = join({record(true, 2, {0, 2}), kEnd});

Octets request_for(AeadId aead) {
  const auto id = static_cast<std::uint8_t>(aead);
  const Octets compliant = aead == AeadId::kAes128GcmSiv ? record(false, 1024, {}) : Octets{};
  return join({kNextProtocol, record(true, 4, {0, id}), compliant, kEnd});
}

// The bodies of every record of this type.
std::vector<Octets> bodies(const Octets& message, RecordType type) {
  std::vector<Octets> found;
  ByteReader reader(message);
  while (const auto r = nts::read_record(reader)) {
    if (r->is(type)) found.emplace_back(r->body.begin(), r->body.end());
  }
  return found;
}

// A blocking TCP connection over loopback.
class Tcp {
 public:
  explicit Tcp(const net::Endpoint& to, const char* from = nullptr) {
    sockaddr_storage address{};
    const socklen_t size = to.to_sockaddr(address);
    fd_ = ::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval patience{.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (from != nullptr) {
      sockaddr_in local{};
      local.sin_family = AF_INET;
      ::inet_pton(AF_INET, from, &local.sin_addr);
      EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&local), sizeof(local)), 0);
    }
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0;
  }
  Tcp(const Tcp&) = delete;
  Tcp& operator=(const Tcp&) = delete;
  ~Tcp() { close(); }

  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  int fd() const { return fd_; }
  bool connected() const { return connected_; }
  // Octets until the server closes; nothing when it does not within five seconds.
  std::optional<std::size_t> read_to_end() {
    std::size_t total = 0;
    for (char buffer[512];;) {
      const ssize_t n = ::recv(fd_, buffer, sizeof(buffer), 0);
      if (n < 0 && errno == EAGAIN) return std::nullopt;
      if (n <= 0) return total;
      total += static_cast<std::size_t>(n);
    }
  }

 private:
  int fd_ = -1;
  bool connected_ = false;
};

struct ClientOptions {
  std::string alpn = "\x07ntske/1";
  int max_version = TLS1_3_VERSION;
  bool trust = true;
  const char* from = nullptr;
};

// A TLS client, as strict as the test wants it.
class Client {
 public:
  explicit Client(const net::Endpoint& to, const ClientOptions& options = {})
      : tcp_(to, options.from),
        context_(SSL_CTX_new(TLS_client_method())),
        ssl_(SSL_new(context_.get())) {
    SSL_set_max_proto_version(ssl_.get(), options.max_version);
    SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(options.alpn.data()),
                        static_cast<unsigned>(options.alpn.size()));
    if (!options.trust) SSL_set_verify(ssl_.get(), SSL_VERIFY_PEER, nullptr);
    SSL_set_fd(ssl_.get(), tcp_.fd());
  }

  bool handshake() {
    ERR_clear_error();
    if (SSL_connect(ssl_.get()) == 1) return true;
    const int reason = ERR_GET_REASON(ERR_peek_last_error());
    alert_ = reason > SSL_AD_REASON_OFFSET ? reason - SSL_AD_REASON_OFFSET : 0;
    return false;
  }
  // In one TLS record.
  void send(Bytes octets) {
    if (octets.empty()) return;
    EXPECT_EQ(SSL_write(ssl_.get(), octets.data(), static_cast<int>(octets.size())),
              static_cast<int>(octets.size()));
  }
  // Everything up to the end; each SSL_read takes one TLS record.
  Octets receive() {
    Octets all;
    for (std::array<std::uint8_t, 16384> record;;) {
      ERR_clear_error();
      const int n = SSL_read(ssl_.get(), record.data(), record.size());
      if (n <= 0) {
        closed_properly_ = SSL_get_error(ssl_.get(), n) == SSL_ERROR_ZERO_RETURN;
        return all;
      }
      ++records_;
      all.insert(all.end(), record.begin(), record.begin() + n);
    }
  }
  Octets ask(const Octets& request) {
    EXPECT_TRUE(handshake());
    send(request);
    return receive();
  }
  Octets exported(std::uint16_t aead, bool server_to_client, std::size_t size) {
    Octets out(size);
    const auto context = nts::exporter_context(aead, server_to_client);
    EXPECT_EQ(
        SSL_export_keying_material(ssl_.get(), out.data(), size, nts::kExporterLabel.data(),
                                   nts::kExporterLabel.size(), context.data(), context.size(), 1),
        1);
    return out;
  }

  SSL* ssl() { return ssl_.get(); }
  Tcp& tcp() { return tcp_; }
  int alert() const { return alert_; }                       // received while shaking hands
  int records() const { return records_; }                   // TLS records of data received
  bool closed_properly() const { return closed_properly_; }  // close_notify received

 private:
  Tcp tcp_;
  OpenSsl<SSL_CTX, SSL_CTX_free> context_;
  OpenSsl<SSL, SSL_free> ssl_;
  int alert_ = 0;
  int records_ = 0;
  bool closed_properly_ = false;
};

nts::KeyRing ring_from(std::uint32_t id) {
  const Octets current(nts::kMasterKeyLength, 1);
  const Octets next(nts::kMasterKeyLength, 2);
  return nts::KeyRing::create(id, nts::MasterKeySecret(current), nts::MasterKeySecret(next));
}

class KeServiceTest : public testing::Test {
 protected:
  KeServiceTest()
      : tls_(TlsContext::read({lab().certificate_chain, lab().private_key}).value()),
        keys_(std::make_shared<const nts::KeyRing>(ring_from(77))) {
    set_up_log("off", LogFormat::kText);
    ::signal(SIGPIPE, SIG_IGN);  // the client's end
    config_.listen = {at("127.0.0.1", 0)};
    config_.threads = 1;
    config_.deadline = 60s;
    config_.max_connections = 100;
    config_.max_connections_per_address = 50;
  }

  void start() {
    service_ = std::make_unique<KeService>(config_, policy_, tls_, keys_);
    service_->listen();
    service_->start();
  }
  net::Endpoint endpoint() const { return service_->endpoints().at(0); }
  std::uint64_t count(KeOutcome outcome) const { return service_->count(outcome); }
  // That this happened, once, and nothing else did.
  void expect_only(KeOutcome outcome) {
    EXPECT_TRUE(eventually([&] { return count(outcome) == 1; })) << name(outcome);
    for (std::size_t i = 0; i < kKeOutcomes; ++i) {
      const auto other = static_cast<KeOutcome>(i);
      if (other != outcome) {
        EXPECT_EQ(count(other), 0u) << name(other);
      }
    }
  }
  // A full exchange works.
  void expect_service() {
    Client client(endpoint());
    EXPECT_EQ(bodies(client.ask(kRequest), RecordType::kNewCookie).size(), 8u);
  }

  NtsKeConfig config_;
  nts::KePolicy policy_;
  Published<TlsContext> tls_;
  Published<nts::KeyRing> keys_;
  std::unique_ptr<KeService> service_;
};

TEST(KeOutcomeNames, AreDistinct) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kKeOutcomes; ++i) names.insert(name(static_cast<KeOutcome>(i)));
  EXPECT_EQ(names.size(), kKeOutcomes);
  EXPECT_FALSE(names.contains(""));
}

TEST_F(KeServiceTest, EveryAeadGetsEightCookiesThatHoldTheExportedKeys) {
  start();
  crypto::Engine engine;
  crypto::RandomGenerator random{Octets(crypto::kSeedLength, 1)};
  for (const AeadId aead : {AeadId::kAesSivCmac256, AeadId::kAesSivCmac384, AeadId::kAesSivCmac512,
                            AeadId::kAes128GcmSiv}) {
    Client client(endpoint());
    const Octets response = client.ask(request_for(aead));
    EXPECT_EQ(client.records(), 1) << "the response must be one TLS record";
    EXPECT_TRUE(client.closed_properly()) << "no close_notify";
    const auto id = static_cast<std::uint16_t>(aead);
    const std::size_t length = crypto::parameters(aead).key_length;
    const Octets c2s = client.exported(id, false, length);
    const Octets s2c = client.exported(id, true, length);
    const auto cookies = bodies(response, RecordType::kNewCookie);
    ASSERT_EQ(cookies.size(), 8u);
    std::set<std::string> distinct;
    for (const Octets& cookie : cookies) distinct.emplace(cookie.begin(), cookie.end());
    EXPECT_EQ(distinct.size(), 8u);
    for (const Octets& cookie : cookies) {
      std::array<nts::OpenCookieJob, 1> job;
      job[0].cookie = cookie;
      nts::open_cookies(*keys_.current(), engine, random, job);
      ASSERT_EQ(job[0].status, nts::CookieStatus::kOpened);
      EXPECT_EQ(job[0].keys.aead, aead);
      EXPECT_TRUE(equal(job[0].keys.c2s.bytes(), c2s));
      EXPECT_TRUE(equal(job[0].keys.s2c.bytes(), s2c));
    }
  }
  EXPECT_TRUE(eventually([&] { return count(KeOutcome::kCompleted) == 4; }));
}

TEST_F(KeServiceTest, Aead30WithoutRecord1024IsExportedWithContext15WhereAllowed) {
  policy_.gcm_siv_without_record_1024 = true;
  start();
  Client client(endpoint());
  const Octets response = client.ask(join({kNextProtocol, record(true, 4, {0, 30}), kEnd}));
  const auto cookies = bodies(response, RecordType::kNewCookie);
  ASSERT_FALSE(cookies.empty());
  crypto::Engine engine;
  crypto::RandomGenerator random{Octets(crypto::kSeedLength, 1)};
  std::array<nts::OpenCookieJob, 1> job;
  job[0].cookie = cookies[0];
  nts::open_cookies(*keys_.current(), engine, random, job);
  ASSERT_EQ(job[0].status, nts::CookieStatus::kOpened);
  EXPECT_TRUE(equal(job[0].keys.c2s.bytes(), client.exported(15, false, 16)));
}

TEST_F(KeServiceTest, NoCommonProtocolIsAnEmptyRecord1) {
  start();
  Client client(endpoint());
  EXPECT_EQ(client.ask(join({record(true, 1, {0x80, 1}), kAead15, kEnd})),
            join({record(true, 1, {}), kEnd}));
  expect_only(KeOutcome::kNoCommonProtocol);
}

TEST_F(KeServiceTest, NoCommonAeadIsAnEmptyRecord4) {
  start();
  Client client(endpoint());
  EXPECT_EQ(client.ask(join({kNextProtocol, record(true, 4, {0, 1}), kEnd})),
            join({kNextProtocol, record(true, 4, {}), kEnd}));
  expect_only(KeOutcome::kNoCommonAead);
}

TEST_F(KeServiceTest, AMalformedRequestIsError1) {
  start();
  Client client(endpoint());
  EXPECT_EQ(client.ask(join({kAead15, kEnd})), kErrorBadRequest);
  EXPECT_TRUE(client.closed_properly());
  expect_only(KeOutcome::kBadRequest);
}

TEST_F(KeServiceTest, AnUnknownCriticalRecordIsError0) {
  start();
  Client client(endpoint());
  EXPECT_EQ(client.ask(join({kNextProtocol, kAead15, record(true, 4711, {}), kEnd})),
            join({record(true, 2, {0, 0}), kEnd}));
  expect_only(KeOutcome::kUnrecognizedCritical);
}

TEST_F(KeServiceTest, NoKeysIsError2) {
  keys_.publish(std::make_shared<const nts::KeyRing>());
  start();
  Client client(endpoint());
  EXPECT_EQ(client.ask(kRequest), kErrorInternal);
  expect_only(KeOutcome::kInternalError);
}

TEST_F(KeServiceTest, AClientWithNaglesAlgorithmDoesNotWaitForDelayedAcknowledgements) {
  start();
  std::vector<steady_clock::duration> each;
  for (int i = 0; i < 20; ++i) {
    const auto begun = steady_clock::now();
    Client client(endpoint());
    EXPECT_FALSE(client.ask(kRequest).empty());
    each.push_back(steady_clock::now() - begun);
  }
  std::ranges::sort(each);
  EXPECT_LT(each[each.size() / 2], 35ms) << "40 ms each when they wait";
}

TEST_F(KeServiceTest, ARequestInPiecesOfOneOctetIsTheSame) {
  start();
  Client client(endpoint());
  ASSERT_TRUE(client.handshake());
  for (const std::uint8_t octet : kRequest) client.send({&octet, 1});
  EXPECT_EQ(bodies(client.receive(), RecordType::kNewCookie).size(), 8u);
  expect_only(KeOutcome::kCompleted);
}

TEST_F(KeServiceTest, ARequestSplitAnywhereIsTheSame) {
  start();
  for (std::size_t cut = 1; cut < kRequest.size(); ++cut) {
    Client client(endpoint());
    ASSERT_TRUE(client.handshake());
    client.send(Bytes(kRequest).first(cut));
    std::this_thread::sleep_for(1ms);
    client.send(Bytes(kRequest).subspan(cut));
    EXPECT_EQ(bodies(client.receive(), RecordType::kNewCookie).size(), 8u) << cut;
  }
}

TEST_F(KeServiceTest, WhatFollowsEndOfMessageIsIgnored) {
  start();
  Client client(endpoint());
  const Octets response = client.ask(join({kRequest, kRequest, Octets(9000, 0xff)}));
  EXPECT_EQ(bodies(response, RecordType::kEndOfMessage).size(), 1u);
  EXPECT_EQ(bodies(response, RecordType::kNewCookie).size(), 8u);
  EXPECT_TRUE(client.closed_properly());
  client.tcp().close();
  expect_only(KeOutcome::kCompleted);
}

Octets padded_request(std::size_t size) {
  Octets request = join({kNextProtocol, kAead15});
  while (request.size() + kEnd.size() < size) {
    const std::size_t room = size - kEnd.size() - request.size();
    request = join({request, record(false, 20000, Octets(std::min<std::size_t>(room, 1000) - 4))});
  }
  return join({request, kEnd});
}

TEST_F(KeServiceTest, TheLongestRequestIsServedAndALongerOneIsError1) {
  start();
  const Octets longest = padded_request(nts::kMaxKeRequestLength);
  ASSERT_EQ(longest.size(), nts::kMaxKeRequestLength);
  EXPECT_EQ(bodies(Client(endpoint()).ask(longest), RecordType::kNewCookie).size(), 8u);
  Client client(endpoint());
  EXPECT_EQ(client.ask(padded_request(nts::kMaxKeRequestLength + 4)), kErrorBadRequest);
  EXPECT_TRUE(client.closed_properly());
  Client endless(endpoint());
  ASSERT_TRUE(endless.handshake());
  for (int i = 0; i < 3; ++i) endless.send(Octets(16000, 0));
  EXPECT_EQ(endless.receive(), kErrorBadRequest) << "the answer must survive what is still sent";
}

TEST_F(KeServiceTest, TheDeadlineAfterTheHandshakeIsError1) {
  config_.deadline = 1s;
  start();
  const auto begun = steady_clock::now();
  Client client(endpoint());
  ASSERT_TRUE(client.handshake());
  client.send(Bytes(kRequest).first(3));
  EXPECT_EQ(client.receive(), kErrorBadRequest);
  EXPECT_TRUE(client.closed_properly());
  EXPECT_GE(steady_clock::now() - begun, 990ms);
  EXPECT_LT(steady_clock::now() - begun, 2s);
  client.tcp().close();
  expect_only(KeOutcome::kDeadline);
}

TEST_F(KeServiceTest, TricklingDoesNotMoveTheDeadline) {
  config_.deadline = 1s;
  start();
  const auto begun = steady_clock::now();
  Client client(endpoint());
  ASSERT_TRUE(client.handshake());
  const Octets endless = record(false, 20000, Octets(1000));
  for (std::size_t i = 0; count(KeOutcome::kDeadline) == 0 && i < endless.size(); ++i) {
    if (SSL_write(client.ssl(), &endless[i], 1) != 1) break;
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_EQ(client.receive(), kErrorBadRequest);
  EXPECT_LT(steady_clock::now() - begun, 2s);
}

TEST_F(KeServiceTest, TheDeadlineBeforeTheHandshakeIsAPlainClose) {
  config_.deadline = 1s;
  start();
  Tcp tcp(endpoint());
  ASSERT_EQ(::send(tcp.fd(), "\x16\x03\x01", 3, 0), 3);
  EXPECT_EQ(tcp.read_to_end(), 0u);
  expect_only(KeOutcome::kDeadline);
}

TEST_F(KeServiceTest, ARequestCutShortByCloseNotifyIsError1) {
  start();
  Client client(endpoint());
  ASSERT_TRUE(client.handshake());
  client.send(Bytes(kRequest).first(9));
  SSL_shutdown(client.ssl());
  EXPECT_EQ(client.receive(), kErrorBadRequest);
  expect_only(KeOutcome::kBadRequest);
}

TEST_F(KeServiceTest, ARequestCutShortByEndOfStreamIsError1) {
  start();
  Client client(endpoint());
  ASSERT_TRUE(client.handshake());
  client.send(Bytes(kRequest).first(9));
  ::shutdown(client.tcp().fd(), SHUT_WR);
  EXPECT_EQ(client.receive(), kErrorBadRequest);
  EXPECT_TRUE(client.closed_properly());
  expect_only(KeOutcome::kBadRequest);
}

TEST_F(KeServiceTest, AClientThatLeavesBeforeItAsksIsCounted) {
  start();
  { Tcp tcp(endpoint()); }
  EXPECT_TRUE(eventually([&] { return count(KeOutcome::kClosedEarly) == 1; }));
  {
    Client client(endpoint());
    ASSERT_TRUE(client.handshake());
  }
  EXPECT_TRUE(eventually([&] { return count(KeOutcome::kClosedEarly) == 2; }));
  EXPECT_TRUE(eventually([&] { return service_->open_connections() == 0; }));
}

TEST_F(KeServiceTest, AClientThatNeverClosesIsLeftAfterASecond) {
  start();
  Client client(endpoint());
  const auto begun = steady_clock::now();
  client.ask(kRequest);
  EXPECT_EQ(service_->open_connections(), 1u);
  EXPECT_TRUE(eventually([&] { return service_->open_connections() == 0; }));
  expect_only(KeOutcome::kCompleted);
  EXPECT_GE(steady_clock::now() - begun, 900ms);
}

TEST_F(KeServiceTest, AClientThatClosesWithoutCloseNotifyIsFine) {
  start();
  for (int i = 0; i < 20; ++i) {
    Client client(endpoint());
    ASSERT_FALSE(client.ask(kRequest).empty());
  }
  EXPECT_TRUE(eventually([&] { return count(KeOutcome::kCompleted) == 20; }));
  EXPECT_TRUE(eventually([&] { return service_->open_connections() == 0; }));
}

TEST_F(KeServiceTest, WithoutAlpnTheAlertIsNoApplicationProtocol) {
  start();
  Client client(endpoint(), {.alpn = ""});
  EXPECT_FALSE(client.handshake());
  EXPECT_EQ(client.alert(), SSL_AD_NO_APPLICATION_PROTOCOL);
  client.tcp().close();
  expect_only(KeOutcome::kNoAlpn);
}

TEST_F(KeServiceTest, WithAnotherAlpnTheAlertIsNoApplicationProtocol) {
  start();
  Client client(endpoint(), {.alpn = "\x02h2"});
  EXPECT_FALSE(client.handshake());
  EXPECT_EQ(client.alert(), SSL_AD_NO_APPLICATION_PROTOCOL);
  client.tcp().close();
  expect_only(KeOutcome::kNoAlpn);
}

TEST_F(KeServiceTest, WithoutTls13TheAlertIsProtocolVersion) {
  start();
  Client client(endpoint(), {.max_version = TLS1_2_VERSION});
  EXPECT_FALSE(client.handshake());
  EXPECT_EQ(client.alert(), SSL_AD_PROTOCOL_VERSION);
  client.tcp().close();
  expect_only(KeOutcome::kTlsVersion);
}

TEST_F(KeServiceTest, AClientThatDoesNotTrustUsIsCounted) {
  start();
  Client client(endpoint(), {.trust = false});
  EXPECT_FALSE(client.handshake());
  client.tcp().close();
  expect_only(KeOutcome::kRefusedByClient);
}

TEST_F(KeServiceTest, WhatIsNotTlsIsCounted) {
  start();
  Tcp tcp(endpoint());
  const std::string text = "GET / HTTP/1.0\r\n\r\n";
  ASSERT_EQ(::send(tcp.fd(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  EXPECT_TRUE(tcp.read_to_end());
  tcp.close();
  expect_only(KeOutcome::kTlsFailure);
}

TEST_F(KeServiceTest, ADamagedRecordAfterTheHandshakeIsATlsFailure) {
  start();
  Client client(endpoint());
  ASSERT_TRUE(client.handshake());
  const Octets garbage = {23, 3,  3,  0,  20, 1,  2,  3,  4,  5,  6,  7, 8,
                          9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
  ASSERT_GT(::send(client.tcp().fd(), garbage.data(), garbage.size(), 0), 0);
  EXPECT_TRUE(client.receive().empty());
  client.tcp().close();
  expect_only(KeOutcome::kTlsFailure);
}

TEST_F(KeServiceTest, TheLimitPerAddressHoldsForThatAddressOnly) {
  config_.max_connections_per_address = 3;
  config_.deadline = 500s;  // 5 s of patience with the silent
  start();
  std::vector<std::unique_ptr<Tcp>> held;
  for (int i = 0; i < 3; ++i) held.push_back(std::make_unique<Tcp>(endpoint()));
  ASSERT_TRUE(eventually([&] { return service_->open_connections() == 3; }));
  EXPECT_EQ(Tcp(endpoint()).read_to_end(), 0u);
  EXPECT_TRUE(eventually([&] { return count(KeOutcome::kRefusedAddress) == 1; }));
  Client neighbour(endpoint(), {.from = "127.0.0.2"});
  EXPECT_FALSE(neighbour.ask(kRequest).empty());
  held.pop_back();
  ASSERT_TRUE(eventually([&] { return service_->open_connections() < 4; }));
  ASSERT_TRUE(eventually([&] { return count(KeOutcome::kClosedEarly) == 1; }));
  expect_service();
}

TEST_F(KeServiceTest, TheLimitInAllHolds) {
  config_.max_connections = 3;
  config_.deadline = 500s;  // 5 s of patience with the silent
  start();
  std::vector<std::unique_ptr<Tcp>> held;
  for (int i = 0; i < 3; ++i) held.push_back(std::make_unique<Tcp>(endpoint()));
  ASSERT_TRUE(eventually([&] { return service_->open_connections() == 3; }));
  EXPECT_EQ(Tcp(endpoint(), "127.0.0.2").read_to_end(), 0u);
  EXPECT_TRUE(eventually([&] { return count(KeOutcome::kRefusedTotal) == 1; }));
  held.clear();
  ASSERT_TRUE(eventually([&] { return service_->open_connections() == 0; }));
  expect_service();
}

TEST_F(KeServiceTest, TheRateOfAnAddressHoldsForThatAddressOnly) {
  config_.rate_per_address = 1;
  config_.burst_per_address = 2;
  start();
  expect_service();
  std::vector<std::unique_ptr<Tcp>> held;
  for (int i = 0; i < 8; ++i) held.push_back(std::make_unique<Tcp>(endpoint()));
  EXPECT_TRUE(eventually([&] {
    return count(KeOutcome::kRefusedAddressRate) + service_->open_connections() == held.size();
  }));
  EXPECT_GE(count(KeOutcome::kRefusedAddressRate), 1u);
  EXPECT_LT(count(KeOutcome::kRefusedAddressRate), held.size()) << "the burst is two";
  Client neighbour(endpoint(), {.from = "127.0.0.2"});
  EXPECT_FALSE(neighbour.ask(kRequest).empty());
}

TEST_F(KeServiceTest, TheRateInAllHolds) {
  config_.rate = 1;
  config_.burst = 2;
  start();
  expect_service();
  std::vector<std::unique_ptr<Tcp>> held;
  for (int i = 0; i < 8; ++i) held.push_back(std::make_unique<Tcp>(endpoint(), "127.0.0.2"));
  EXPECT_TRUE(eventually([&] {
    return count(KeOutcome::kRefusedRate) + service_->open_connections() == held.size();
  }));
  EXPECT_GE(count(KeOutcome::kRefusedRate), 1u);
  EXPECT_LT(count(KeOutcome::kRefusedRate), held.size()) << "the burst is two";
}

TEST_F(KeServiceTest, TheSlowestGivesWayToANewcomerWhenAllPlacesAreTaken) {
  config_.max_connections = 2;
  config_.deadline = 500s;  // 5 s of patience with the silent: nobody is slow yet
  start();
  Tcp first(endpoint());
  Tcp second(endpoint());
  ASSERT_TRUE(eventually([&] { return service_->open_connections() == 2; }));
  EXPECT_EQ(Tcp(endpoint()).read_to_end(), 0u);
  EXPECT_TRUE(eventually([&] { return count(KeOutcome::kRefusedTotal) == 1; }));
  service_->stop();

  config_.deadline = 20s;  // 0.2 s; with who has shaken hands 4 s
  start();
  Client half(endpoint());
  ASSERT_TRUE(half.handshake());
  Tcp slowest(endpoint());
  ASSERT_TRUE(eventually([&] { return service_->open_connections() == 2; }));
  std::this_thread::sleep_for(250ms);
  expect_service();
  EXPECT_EQ(slowest.read_to_end(), 0u);
  EXPECT_TRUE(eventually([&] { return count(KeOutcome::kEvicted) == 1; }));
  half.send(kRequest);
  EXPECT_EQ(bodies(half.receive(), RecordType::kNewCookie).size(), 8u) << "the silent go first";
  EXPECT_EQ(count(KeOutcome::kRefusedTotal), 0u);
}

TEST_F(KeServiceTest, WhoDoesNotAskGivesWayInTheEnd) {
  config_.max_connections = 1;
  config_.deadline = 5s;
  start();
  Client half(endpoint());
  ASSERT_TRUE(half.handshake());
  std::this_thread::sleep_for(1100ms);
  expect_service();
  EXPECT_TRUE(half.receive().empty());
  EXPECT_EQ(count(KeOutcome::kEvicted), 1u);
}

TEST_F(KeServiceTest, TheSlowestOfAnAddressGivesWayToANewcomerFromThere) {
  config_.max_connections_per_address = 2;
  config_.deadline = 5s;  // 50 ms of patience with the silent
  start();
  Tcp stranger(endpoint(), "127.0.0.2");
  Tcp slowest(endpoint());
  Tcp second(endpoint());
  ASSERT_TRUE(eventually([&] { return service_->open_connections() == 3; }));
  std::this_thread::sleep_for(100ms);
  expect_service();
  EXPECT_EQ(slowest.read_to_end(), 0u);
  EXPECT_TRUE(eventually([&] { return count(KeOutcome::kEvicted) == 1; }));
  EXPECT_TRUE(eventually([&] { return service_->open_connections() == 2; }));
}

TEST_F(KeServiceTest, AnEndlessHandshakeIsCutOff) {
  start();
  Tcp tcp(endpoint());
  Octets hello = {22, 3, 1, 0x40, 0, 1, 1, 0, 0};  // a ClientHello of 65,536 octets
  hello.resize(5 + 0x4000);
  ASSERT_GT(::send(tcp.fd(), hello.data(), hello.size(), MSG_NOSIGNAL), 0);
  EXPECT_TRUE(tcp.read_to_end()) << "waits for more";
  expect_only(KeOutcome::kTlsFailure);
}

// Lowers the limit on descriptors to what is open now, while it lives.
class NoMoreDescriptors {
 public:
  NoMoreDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int lowest_free = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::close(lowest_free);
    rlimit lowered = before_;
    lowered.rlim_cur = static_cast<rlim_t>(lowest_free);
    ::setrlimit(RLIMIT_NOFILE, &lowered);
  }
  ~NoMoreDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(KeServiceTest, RunningOutOfDescriptorsPasses) {
  start();
  expect_service();
  ASSERT_TRUE(eventually([&] { return service_->open_connections() == 0; }));
  const int reserved = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  std::unique_ptr<Tcp> waiting;
  {
    const NoMoreDescriptors lowered;
    ::close(reserved);  // for the client's end
    const auto begun = steady_clock::now();
    waiting = std::make_unique<Tcp>(endpoint());
    ASSERT_TRUE(waiting->connected()) << "the kernel takes it; nobody accepts it yet";
    EXPECT_TRUE(eventually([&] { return count(KeOutcome::kAcceptError) >= 3; }));
    const auto most = static_cast<std::uint64_t>((steady_clock::now() - begun) / 50ms) + 2;
    EXPECT_LE(count(KeOutcome::kAcceptError), most) << "no pause between the attempts";
    EXPECT_EQ(service_->open_connections(), 0u);
  }
  EXPECT_TRUE(eventually([&] { return service_->open_connections() == 1; }));
  expect_service();
}

TEST_F(KeServiceTest, StopIsPromptWithConnectionsInEveryState) {
  config_.threads = 2;
  config_.deadline = 60s;
  start();
  Tcp silent(endpoint());
  Client connected(endpoint());
  ASSERT_TRUE(connected.handshake());
  Client half(endpoint());
  ASSERT_TRUE(half.handshake());
  half.send(Bytes(kRequest).first(5));
  Client answered(endpoint());
  answered.ask(kRequest);
  const auto begun = steady_clock::now();
  service_->stop();
  EXPECT_LT(steady_clock::now() - begun, 500ms);
  EXPECT_EQ(service_->open_connections(), 0u);
  EXPECT_EQ(silent.read_to_end(), 0u);
  EXPECT_FALSE(Tcp(endpoint()).connected());
  service_->stop();  // again is harmless
}

TEST_F(KeServiceTest, WhoConnectsBeforeTheThreadsRunIsNoOverload) {
  config_.deadline = 20s;  // 4 s of patience; 2 s where the queue is never empty
  service_ = std::make_unique<KeService>(config_, policy_, tls_, keys_);
  service_->listen();
  Octets response;
  std::thread early([&] { response = Client(endpoint()).ask(kRequest); });
  std::this_thread::sleep_for(2200ms);
  service_->start();
  early.join();
  EXPECT_EQ(bodies(response, RecordType::kNewCookie).size(), 8u);
}

TEST_F(KeServiceTest, StopWithoutStartIsHarmless) {
  service_ = std::make_unique<KeService>(config_, policy_, tls_, keys_);
  service_->stop();
}

TEST_F(KeServiceTest, AnAddressInUseIsOneSentence) {
  start();
  config_.listen = {endpoint()};
  KeService second(config_, policy_, tls_, keys_);
  try {
    second.listen();
    FAIL() << "two daemons would share the port";
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(error.what(), "nts_ke.listen: cannot listen on " + endpoint().to_string() +
                                " (TCP): Address already in use");
  }
  expect_service();
}

TEST_F(KeServiceTest, AnAddressThatIsNotOursIsOneSentence) {
  config_.listen = {at("192.0.2.1", 0)};
  KeService service(config_, policy_, tls_, keys_);
  EXPECT_THROW(service.listen(), std::runtime_error);
}

TEST_F(KeServiceTest, BothFamiliesShareAPort) {
  config_.listen = {at("0.0.0.0", 0)};
  start();
  const std::uint16_t port = endpoint().port;
  service_->stop();
  config_.listen = {at("0.0.0.0", port), at("::", port)};
  start();
  EXPECT_EQ(service_->endpoints(), config_.listen);
  for (const char* host : {"127.0.0.1", "::1"}) {
    Client client(at(host, port));
    EXPECT_FALSE(client.ask(kRequest).empty()) << host;
  }
}

TEST_F(KeServiceTest, AnIpv6ListenerLeavesIpv4Alone) {
  const int taken =
      ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);  // so that nobody listens there
  sockaddr_storage address{};
  socklen_t length = at("127.0.0.1", 0).to_sockaddr(address);
  ASSERT_EQ(::bind(taken, reinterpret_cast<sockaddr*>(&address), length), 0);
  ::getsockname(taken, reinterpret_cast<sockaddr*>(&address), &length);
  const auto ipv4 = net::Endpoint::from_sockaddr(reinterpret_cast<sockaddr*>(&address));
  config_.listen = {at("::", ipv4.port)};
  start();
  EXPECT_FALSE(Tcp(ipv4).connected());
  EXPECT_TRUE(Tcp(at("::1", ipv4.port)).connected());
  ::close(taken);
}

TEST_F(KeServiceTest, ManyThreadsServeAndAreSummed) {
  config_.threads = 3;
  start();
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([this] {
      for (int i = 0; i < 10; ++i) Client(endpoint()).ask(kRequest);
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(eventually([&] { return count(KeOutcome::kCompleted) == 40; }));
  const KeHandshakeTimes times = service_->handshake_times();
  std::uint64_t handshakes = 0;
  for (const std::uint64_t n : times.counts) handshakes += n;
  EXPECT_EQ(handshakes, 40u);
  EXPECT_GT(times.sum, 40 * 50us);
  EXPECT_LT(times.sum, 40 * 5s);
}

TEST_F(KeServiceTest, ARotationIsSeenByTheNextSession) {
  start();
  expect_service();
  keys_.publish(std::make_shared<const nts::KeyRing>(ring_from(4242)));
  const auto cookies = bodies(Client(endpoint()).ask(kRequest), RecordType::kNewCookie);
  ASSERT_FALSE(cookies.empty());
  EXPECT_EQ(nts::cookie_key_id(cookies[0]), 4242u);
}

TEST_F(KeServiceTest, ANewCertificateIsForNewSessionsOnly) {
  start();
  Client old(endpoint());
  ASSERT_TRUE(old.handshake());
  std::string dir = (fs::temp_directory_path() / "timeball-ke-XXXXXX").string();
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto other =
      make_lab_certificates(dir, {}, {std::chrono::nanoseconds(now).count()}).value();
  tls_.publish(TlsContext::read({other.certificate_chain, other.private_key}).value());
  fs::remove_all(dir);
  Client fresh(endpoint());
  ASSERT_TRUE(fresh.handshake());
  const OpenSsl<X509, X509_free> before(SSL_get1_peer_certificate(old.ssl()));
  const OpenSsl<X509, X509_free> after(SSL_get1_peer_certificate(fresh.ssl()));
  EXPECT_NE(X509_cmp(before.get(), after.get()), 0);
  old.send(kRequest);
  EXPECT_EQ(bodies(old.receive(), RecordType::kNewCookie).size(), 8u);
}

}  // namespace
}  // namespace timeball::server
