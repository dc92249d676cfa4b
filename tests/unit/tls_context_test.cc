#include "server/tls_context.h"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "server/lab_certificate.h"

namespace timeball::server {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

UtcTime now() {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return {std::chrono::nanoseconds(since_1970).count()};
}

// One lab certificate for all tests.
const LabCertificates& lab() {
  static const LabCertificates made = [] {
    std::string dir = (fs::temp_directory_path() / "timeball-tls-XXXXXX").string();
    const char* path = ::mkdtemp(dir.data());
    static const struct Remover {
      fs::path directory;
      ~Remover() { fs::remove_all(directory); }
    } remover{path};
    return make_lab_certificates(path, {}, now()).value();
  }();
  return made;
}

std::shared_ptr<const TlsContext> make_context() {
  auto context = TlsContext::make(lab().certificate_chain, lab().private_key);
  EXPECT_TRUE(context) << context.error().message;
  return context.value();
}

std::string error_of(const std::string& certificate, const std::string& key) {
  const auto context = TlsContext::make(certificate, key);
  return context ? "made" : context.error().message;
}

std::string in_lab(const char* name, const std::string& content) {
  const fs::path path = lab().ca_certificate.parent_path() / name;
  std::ofstream(path) << content;
  return path;
}

TEST(TlsContext, TellsWhenItsCertificateEndsAndWhoseItIs) {
  const auto context = make_context();
  const std::int64_t lifetime_s =
      std::chrono::seconds(kLabCertificateLifetime - kLabBackdating).count();
  EXPECT_NEAR(static_cast<double>(context->not_after_s()),
              static_cast<double>(now().ns / 1'000'000'000 + lifetime_s), 2 * 86400.0);
  EXPECT_NE(context->subject().find("CN="), std::string::npos) << context->subject();
}

TEST(TlsContext, SaysWhichFileIsWrongAndHow) {
  const std::string chain = lab().certificate_chain;
  const std::string key = lab().private_key;
  EXPECT_EQ(error_of("/nowhere/chain.pem", key),
            "certificate /nowhere/chain.pem: No such file or directory");
  EXPECT_EQ(error_of(chain, "/nowhere/key.pem"),
            "private key /nowhere/key.pem: No such file or directory");
  EXPECT_NE(error_of(in_lab("empty.pem", ""), key).find("holds no PEM certificate"),
            std::string::npos);
  EXPECT_NE(error_of(key, key).find("holds no PEM certificate"), std::string::npos);
  EXPECT_NE(error_of(chain, in_lab("empty.key", "")).find("holds no PEM private key"),
            std::string::npos);
  EXPECT_NE(error_of(chain, chain).find("holds no PEM private key"), std::string::npos);
  EXPECT_NE(error_of(chain, lab().ca_key).find("does not belong to the certificate"),
            std::string::npos);
  EXPECT_NE(error_of(fs::temp_directory_path(), key).find("certificate "), std::string::npos);
  EXPECT_EQ(ERR_peek_error(), 0u) << "what failed must not confuse the next session";
}

TEST(TlsContext, AKeyWithAPassphraseIsRefusedWithoutAsking) {
  const std::string path = in_lab("locked.key", "");
  const OpenSsl<std::FILE, std::fclose> in(std::fopen(lab().private_key.c_str(), "r"));
  const OpenSsl<std::FILE, std::fclose> out(std::fopen(path.c_str(), "w"));
  const OpenSsl<EVP_PKEY, EVP_PKEY_free> key(
      PEM_read_PrivateKey(in.get(), nullptr, nullptr, nullptr));
  const auto* secret = reinterpret_cast<const unsigned char*>("abc");
  ASSERT_EQ(
      PEM_write_PrivateKey(out.get(), key.get(), EVP_aes_128_cbc(), secret, 3, nullptr, nullptr),
      1);
  std::fflush(out.get());
  EXPECT_NE(error_of(lab().certificate_chain, path).find("has a passphrase"), std::string::npos)
      << error_of(lab().certificate_chain, path);
}

// A client and a server session, joined in memory.
class Handshake {
 public:
  explicit Handshake(const TlsContext& context)
      : client_context_(SSL_CTX_new(TLS_client_method())),
        client_(SSL_new(client_context_.get())),
        server_(context.new_session()) {
    BIO* to_server = nullptr;
    BIO* to_client = nullptr;
    BIO_new_bio_pair(&to_server, 0, &to_client, 0);
    SSL_set_bio(client_.get(), to_server, to_server);
    SSL_set_bio(server_.get(), to_client, to_client);
    SSL_set_connect_state(client_.get());
  }

  Handshake& alpn(const std::string& protocols) {
    SSL_set_alpn_protos(client_.get(), reinterpret_cast<const unsigned char*>(protocols.data()),
                        static_cast<unsigned>(protocols.size()));
    return *this;
  }
  Handshake& versions(int min, int max) {
    SSL_set_min_proto_version(client_.get(), min);
    SSL_set_max_proto_version(client_.get(), max);
    return *this;
  }
  // Whether both sides finished.
  bool run() {
    for (int round = 0; round < 20; ++round) {
      ERR_clear_error();
      const bool client_done = SSL_do_handshake(client_.get()) == 1;
      if (alert_ == 0) alert_ = alert_in_queue();
      ERR_clear_error();
      const int result = SSL_do_handshake(server_.get());
      const int error = SSL_get_error(server_.get(), result);
      if (error == SSL_ERROR_SSL && !failure_) failure_ = take_tls_failure();
      if (client_done && result == 1) return true;
    }
    return false;
  }
  SSL* client() { return client_.get(); }
  SSL* server() { return server_.get(); }
  int alert() const { return alert_; }  // that the client received; 0: none
  std::optional<TlsFailure> failure() const { return failure_; }

 private:
  static int alert_in_queue() {
    const int reason = ERR_GET_REASON(ERR_peek_last_error());
    return reason > SSL_AD_REASON_OFFSET ? reason - SSL_AD_REASON_OFFSET : 0;
  }

  OpenSsl<SSL_CTX, SSL_CTX_free> client_context_;
  OpenSsl<SSL, SSL_free> client_;
  OpenSsl<SSL, SSL_free> server_;
  int alert_ = 0;
  std::optional<TlsFailure> failure_;
};

TEST(TlsContext, ServesTls13WithAes128) {
  const auto context = make_context();
  Handshake handshake(*context);
  ASSERT_TRUE(handshake.alpn("\x07ntske/1"s).run());
  EXPECT_EQ(SSL_version(handshake.client()), TLS1_3_VERSION);
  // The client's own first choice is AES-256: ours goes before it.
  EXPECT_STREQ(SSL_get_cipher_name(handshake.client()), "TLS_AES_128_GCM_SHA256");
  EXPECT_FALSE(SSL_get_peer_cert_chain(handshake.client()) == nullptr);
}

TEST(TlsContext, TakesEveryUsualCipherSuiteAndGroup) {
  const auto context = make_context();
  for (const char* suite :
       {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}) {
    Handshake handshake(*context);
    ASSERT_EQ(SSL_set_ciphersuites(handshake.client(), suite), 1);
    EXPECT_TRUE(handshake.alpn("\x07ntske/1"s).run()) << suite;
  }
  for (const char* group : {"X25519", "P-256", "P-384"}) {
    Handshake handshake(*context);
    ASSERT_EQ(SSL_set1_groups_list(handshake.client(), group), 1);
    EXPECT_TRUE(handshake.alpn("\x07ntske/1"s).run()) << group;
  }
}

TEST(TlsContext, ChoosesNtskeAmongOthers) {
  const auto context = make_context();
  for (const std::string& offer :
       {"\x07ntske/1"s, "\x02h2\x07ntske/1"s, "\x07ntske/1\x08http/1.1"s}) {
    Handshake handshake(*context);
    ASSERT_TRUE(handshake.alpn(offer).run());
    const unsigned char* chosen = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(handshake.client(), &chosen, &size);
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(chosen), size), "ntske/1");
  }
}

TEST(TlsContext, WithoutNtskeTheAlertIsNoApplicationProtocol) {
  const auto context = make_context();
  for (const std::string& offer : {""s, "\x02h2"s, "\x07ntske/2"s, "\x06ntske/"s}) {
    Handshake handshake(*context);
    EXPECT_FALSE(handshake.alpn(offer).run()) << offer;
    EXPECT_EQ(handshake.alert(), SSL_AD_NO_APPLICATION_PROTOCOL) << offer;
    EXPECT_EQ(handshake.failure(), TlsFailure::kNoAlpn) << offer;
  }
}

TEST(TlsContext, WithoutTls13TheAlertIsProtocolVersionWithAlpnOrNot) {
  const auto context = make_context();
  for (const std::string& offer : {"\x07ntske/1"s, ""s}) {
    Handshake handshake(*context);
    EXPECT_FALSE(handshake.versions(TLS1_2_VERSION, TLS1_2_VERSION).alpn(offer).run());
    EXPECT_EQ(handshake.alert(), SSL_AD_PROTOCOL_VERSION);
    EXPECT_EQ(handshake.failure(), TlsFailure::kProtocolVersion);
  }
}

TEST(TlsContext, AClientThatDoesNotTrustTheCertificateIsCountedAsSuch) {
  const auto context = make_context();
  Handshake handshake(*context);
  SSL_set_verify(handshake.client(), SSL_VERIFY_PEER, nullptr);
  EXPECT_FALSE(handshake.alpn("\x07ntske/1"s).run());
  EXPECT_EQ(handshake.failure(), TlsFailure::kRefusedByClient);
}

TEST(TlsContext, GivesNoTicketsAndResumesNothing) {
  const auto context = make_context();
  Handshake handshake(*context);
  ASSERT_TRUE(handshake.alpn("\x07ntske/1"s).run());
  // A ticket would arrive with the first read.
  ASSERT_EQ(SSL_write(handshake.server(), "x", 1), 1);
  char octet = 0;
  ASSERT_EQ(SSL_read(handshake.client(), &octet, 1), 1);
  EXPECT_EQ(SSL_SESSION_has_ticket(SSL_get0_session(handshake.client())), 0);
  EXPECT_EQ(SSL_SESSION_is_resumable(SSL_get0_session(handshake.client())), 0);
  EXPECT_EQ(SSL_get_max_early_data(handshake.server()), 0u);
}

TEST(TlsContext, SessionsOutliveTheContextTheyBeganWith) {
  auto context = make_context();
  Handshake handshake(*context);
  context.reset();
  EXPECT_TRUE(handshake.alpn("\x07ntske/1"s).run());
}

}  // namespace
}  // namespace timeball::server
