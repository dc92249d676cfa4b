// What one NTS-KE costs the server, without sockets: the CPU time of its side of a TLS 1.3
// handshake, the request, the response and the farewell, over memory; and the parts that no
// implementation can leave out, the elliptic curves. Compare figures of one run only.
#include <benchmark/benchmark.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

#include <array>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

#include "bench/ke_answer.h"
#include "common/base/openssl_handle.h"
#include "server/clocks.h"
#include "server/lab_certificate.h"
#include "server/tls_context.h"

namespace {

using namespace timeball;
using timeball::OpenSsl;

void require(bool holds) {
  if (!holds) std::abort();
}

// CPU time of the server's side: the client, on the same thread, is left out.
class Meter {
 public:
  void begin() { begun_ns_ = now_ns(); }
  void end() { spent_ns_ += now_ns() - begun_ns_; }
  double take_s() { return static_cast<double>(std::exchange(spent_ns_, 0)) * 1e-9; }

 private:
  static std::int64_t now_ns() {
    std::timespec t{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1'000'000'000 + t.tv_nsec;
  }
  std::int64_t begun_ns_ = 0;
  std::int64_t spent_ns_ = 0;
};

std::shared_ptr<const server::TlsContext> lab_context() {
  std::string directory = std::filesystem::temp_directory_path() / "timeball-XXXXXX";
  require(::mkdtemp(directory.data()) != nullptr);
  const auto made =
      server::make_lab_certificates(directory, {}, UtcTime{server::read_kernel_time().ns});
  require(made.has_value());
  auto context = server::TlsContext::read({made->certificate_chain, made->private_key});
  std::filesystem::remove_all(directory);
  return context.value();
}

class Client {
 public:
  Client() : context_(SSL_CTX_new(TLS_client_method())) {
    static constexpr std::array<unsigned char, 8> kAlpn = {7, 'n', 't', 's', 'k', 'e', '/', '1'};
    require(SSL_CTX_set_ciphersuites(context_.get(), "TLS_AES_128_GCM_SHA256") == 1);
    require(SSL_CTX_set_alpn_protos(context_.get(), kAlpn.data(), kAlpn.size()) == 0);
  }
  OpenSsl<SSL, SSL_free> connect(const char* group) const {
    OpenSsl<SSL, SSL_free> ssl(SSL_new(context_.get()));
    require(SSL_set1_groups_list(ssl.get(), group) == 1);
    SSL_set_connect_state(ssl.get());
    return ssl;
  }

 private:
  OpenSsl<SSL_CTX, SSL_CTX_free> context_;
};

std::vector<std::uint8_t> request_for(crypto::AeadId aead) {
  const auto low = static_cast<std::uint8_t>(aead);
  return {0x80, 1, 0, 2, 0, 0, 0x80, 4, 0, 2, 0, low, 0x80, 0, 0, 0};
}

// Both ends of one connection, joined by memory.
struct Connection {
  Connection(OpenSsl<SSL, SSL_free> c, OpenSsl<SSL, SSL_free> s)
      : client(std::move(c)), server(std::move(s)) {
    BIO* const up = BIO_new(BIO_s_mem());
    BIO* const down = BIO_new(BIO_s_mem());
    BIO_up_ref(up);
    BIO_up_ref(down);
    SSL_set_bio(client.get(), down, up);
    SSL_set_bio(server.get(), up, down);
  }
  OpenSsl<SSL, SSL_free> client;
  OpenSsl<SSL, SSL_free> server;
};

void nts_ke(benchmark::State& state, const char* group) {
  const auto context = lab_context();
  const Client client;
  bench::KeAnswer answer;
  const auto request = request_for(crypto::AeadId::kAesSivCmac256);
  Meter meter;
  for (auto _ : state) {
    auto ours = client.connect(group);
    meter.begin();
    auto theirs = context->new_session();
    meter.end();
    Connection c(std::move(ours), std::move(theirs));
    SSL_do_handshake(c.client.get());  // ClientHello
    meter.begin();
    SSL_do_handshake(c.server.get());  // ServerHello to Finished
    meter.end();
    require(SSL_do_handshake(c.client.get()) == 1);
    require(SSL_write(c.client.get(), request.data(), static_cast<int>(request.size())) > 0);
    meter.begin();
    require(SSL_do_handshake(c.server.get()) == 1);
    require(answer(c.server.get()));
    c.server.reset();
    meter.end();
    state.SetIterationTime(meter.take_s());
  }
}
BENCHMARK_CAPTURE(nts_ke, x25519, "X25519")->UseManualTime()->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(nts_ke, p256, "P-256")->UseManualTime()->Unit(benchmark::kMicrosecond);

// What a handshake's curves cost alone: an ephemeral key, the secret shared with the client's, and
// the certificate's signature.
void curves(benchmark::State& state, const char* type, const char* group) {
  const auto key = [&] {
    return OpenSsl<EVP_PKEY, EVP_PKEY_free>(group ? EVP_PKEY_Q_keygen(nullptr, nullptr, type, group)
                                                  : EVP_PKEY_Q_keygen(nullptr, nullptr, type));
  };
  const auto theirs = key();
  const OpenSsl<EVP_PKEY, EVP_PKEY_free> signer(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
  std::array<unsigned char, 256> out;
  for (auto _ : state) {
    const auto ours = key();
    const OpenSsl<EVP_PKEY_CTX, EVP_PKEY_CTX_free> derivation(
        EVP_PKEY_CTX_new(ours.get(), nullptr));
    std::size_t size = out.size();
    require(EVP_PKEY_derive_init(derivation.get()) == 1 &&
            EVP_PKEY_derive_set_peer(derivation.get(), theirs.get()) == 1 &&
            EVP_PKEY_derive(derivation.get(), out.data(), &size) == 1);
    const OpenSsl<EVP_MD_CTX, EVP_MD_CTX_free> digest(EVP_MD_CTX_new());
    size = out.size();
    require(EVP_DigestSignInit(digest.get(), nullptr, EVP_sha256(), nullptr, signer.get()) == 1 &&
            EVP_DigestSign(digest.get(), out.data(), &size, out.data(), 130) == 1);
  }
}
BENCHMARK_CAPTURE(curves, x25519, "X25519", nullptr)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(curves, p256, "EC", "P-256")->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
