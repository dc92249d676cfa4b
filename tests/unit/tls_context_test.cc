#include "server/tls_context.h"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
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
  auto context = TlsContext::read({lab().certificate_chain, lab().private_key});
  EXPECT_TRUE(context) << context.error().message;
  return context.value();
}

std::string error_of(const std::string& certificate, const std::string& key) {
  const auto context = TlsContext::read({certificate, key});
  return context ? "made" : context.error().message;
}

std::string in_lab(const char* name, const std::string& content) {
  const fs::path path = lab().ca_certificate.parent_path() / name;
  std::ofstream(path) << content;
  return path;
}

TEST(TlsCertificate, TellsWhenItEndsWhoseItIsAndItsNames) {
  const auto read = TlsCertificate::read({lab().certificate_chain, lab().private_key});
  ASSERT_TRUE(read) << read.error().message;
  const TlsCertificate& certificate = **read;
  const std::int64_t lifetime_s =
      std::chrono::seconds(kLabCertificateLifetime - kLabBackdating).count();
  const auto now_s = static_cast<double>(now().ns / 1'000'000'000);
  EXPECT_NEAR(static_cast<double>(certificate.not_after_s()),
              now_s + static_cast<double>(lifetime_s), 2 * 86400.0);
  EXPECT_NEAR(static_cast<double>(certificate.not_before_s()), now_s - 86400.0, 2 * 86400.0);
  EXPECT_NE(certificate.subject().find("CN="), std::string::npos) << certificate.subject();
  EXPECT_EQ(certificate.names(), (std::vector<std::string>{"127.0.0.1", "::1", "localhost"}));
  EXPECT_EQ(certificate.key_type(), EVP_PKEY_EC);
}

TEST(TlsCertificate, SaysWhichFileIsWrongAndHow) {
  const std::string chain = lab().certificate_chain;
  const std::string key = lab().private_key;
  EXPECT_EQ(error_of("/nowhere/chain.pem", key),
            "cannot read \"/nowhere/chain.pem\": No such file or directory; check the name and the "
            "rights of the file");
  EXPECT_EQ(error_of(chain, "/nowhere/key.pem"),
            "cannot read \"/nowhere/key.pem\": No such file or directory; check the name and the "
            "rights of the file");
  EXPECT_NE(error_of(in_lab("empty.pem", ""), key).find("holds no certificate"), std::string::npos);
  EXPECT_NE(error_of(key, key).find("holds no certificate"), std::string::npos);
  EXPECT_NE(error_of(chain, in_lab("empty.key", "")).find("holds no private key"),
            std::string::npos);
  EXPECT_NE(error_of(chain, chain).find("holds no private key"), std::string::npos);
  EXPECT_NE(error_of(chain, lab().ca_key).find("is not the key of the certificate"),
            std::string::npos);
  EXPECT_NE(error_of(fs::temp_directory_path(), key).find("Is a directory"), std::string::npos);
  EXPECT_EQ(ERR_peek_error(), 0u) << "what failed must not confuse the next session";
}

TEST(TlsCertificate, AKeyWithAPassphraseIsRefusedWithoutAsking) {
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
  EXPECT_NE(error_of(lab().certificate_chain, path).find("is encrypted"), std::string::npos)
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
  Handshake& asks_for(const char* name) {
    SSL_set_tlsext_host_name(client_.get(), name);
    return *this;
  }
  Handshake& signatures(const char* algorithms) {
    SSL_set1_sigalgs_list(client_.get(), algorithms);
    return *this;
  }
  Handshake& groups(const char* names) {
    SSL_set1_groups_list(client_.get(), names);
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

// ---- Several certificates.

PkeyHandle make_key(int type) {
  if (type == EVP_PKEY_EC) return PkeyHandle(EVP_EC_gen("P-256"));
  if (type == EVP_PKEY_ED25519) {
    return PkeyHandle(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  }
  static const PkeyHandle kRsa(EVP_RSA_gen(2048));  // takes a while
  EVP_PKEY_up_ref(kRsa.get());
  return PkeyHandle(kRsa.get());
}

// names: as in "DNS:a.example,IP:192.0.2.1".
std::shared_ptr<const TlsCertificate> certificate(const char* names, PkeyHandle key) {
  X509Handle leaf(X509_new());
  X509_set_version(leaf.get(), X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(leaf.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(leaf.get()), 3600);
  X509_set_pubkey(leaf.get(), key.get());
  const OpenSsl<X509_EXTENSION, X509_EXTENSION_free> extension(
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names));
  X509_add_ext(leaf.get(), extension.get(), -1);
  const bool digests = EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519;
  X509_sign(leaf.get(), key.get(), digests ? EVP_sha256() : nullptr);
  std::vector<X509Handle> chain;
  chain.push_back(std::move(leaf));
  return TlsCertificate::make(std::move(chain), std::move(key), {}).value();
}

std::shared_ptr<const TlsCertificate> certificate(const char* names, int type = EVP_PKEY_EC) {
  return certificate(names, make_key(type));
}

constexpr const char* kOnlyEcdsa = "ecdsa_secp256r1_sha256";
constexpr const char* kOnlyRsa = "rsa_pss_rsae_sha256";
constexpr const char* kBoth = "rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256";

class SeveralCertificates : public testing::Test {
 protected:
  void serve(TlsContext::Certificates certificates) {
    certificates_ = std::move(certificates);
    context_ = TlsContext::make(certificates_).value();
  }
  // The place of the certificate that a client gets; -1: none. name: null: it sends none.
  int served(const char* name, const char* signatures = kBoth, const char* groups = "X25519") {
    Handshake handshake(*context_);
    handshake.alpn("\x07ntske/1"s).signatures(signatures).groups(groups);
    if (name != nullptr) handshake.asks_for(name);
    if (!handshake.run()) return -1;
    const X509Handle leaf(SSL_get1_peer_certificate(handshake.client()));
    for (std::size_t i = 0; i < certificates_.size(); ++i) {
      if (X509_cmp(leaf.get(), certificates_[i]->leaf()) == 0) return static_cast<int>(i);
    }
    return -2;
  }

  TlsContext::Certificates certificates_;
  std::shared_ptr<const TlsContext> context_;
};

TEST_F(SeveralCertificates, TheNameDecides) {
  serve({certificate("DNS:a.example,DNS:b.example"),
         certificate("DNS:C.example,DNS:*.wild.example,IP:192.0.2.1,IP:2001:db8::1")});
  EXPECT_EQ(served("a.example"), 0);
  EXPECT_EQ(served("b.example"), 0);
  EXPECT_EQ(served("c.example"), 1);
  EXPECT_EQ(served("C.EXAMPLE"), 1);
  EXPECT_EQ(served("x.wild.example"), 1);
  // Against RFC 6066, but clients do it.
  EXPECT_EQ(served("192.0.2.1"), 1);
  EXPECT_EQ(served("2001:db8::1"), 1);
}

TEST_F(SeveralCertificates, TheFirstIsForAllOtherNames) {
  serve({certificate("DNS:a.example"), certificate("DNS:c.example,DNS:*.wild.example")});
  const std::string longest(255, 'c');
  for (const char* name : {"d.example", "wild.example", "x.y.wild.example", ".wild.example", ".",
                           "c.example.", "*", longest.c_str()}) {
    EXPECT_EQ(served(name), 0) << name;
  }
  EXPECT_EQ(served(nullptr), 0);
}

TEST_F(SeveralCertificates, TheWholeNameGoesBeforeAWildcard) {
  const auto whole = certificate("DNS:www.a.example");
  const auto wildcard = certificate("DNS:*.a.example");
  serve({whole, wildcard});
  EXPECT_EQ(served("www.a.example"), 0);
  EXPECT_EQ(served("ftp.a.example"), 1);
  serve({wildcard, whole});
  EXPECT_EQ(served("www.a.example"), 1);
  EXPECT_EQ(served("ftp.a.example"), 0);
}

TEST_F(SeveralCertificates, OfOneNameTheClientsSignaturesDecide) {
  serve({certificate("DNS:a.example", EVP_PKEY_RSA), certificate("DNS:a.example")});
  for (const char* name : {"a.example", "other.example"}) {
    EXPECT_EQ(served(name, kOnlyRsa), 0) << name;
    EXPECT_EQ(served(name, kOnlyEcdsa), 1) << name;
    EXPECT_EQ(served(name, kBoth), 1) << name;
  }
  EXPECT_EQ(served(nullptr, kOnlyRsa), 0);
}

TEST_F(SeveralCertificates, NamesAndTypesTogether) {
  serve({certificate("DNS:a.example,DNS:b.example"), certificate("DNS:b.example", EVP_PKEY_RSA),
         certificate("DNS:c.example", EVP_PKEY_RSA), certificate("DNS:b.example")});
  EXPECT_EQ(served("b.example", kOnlyEcdsa), 0) << "the first of a type";
  EXPECT_EQ(served("b.example", kOnlyRsa), 1);
  EXPECT_EQ(served("a.example", kOnlyRsa), -1) << "nobody has that";
  EXPECT_EQ(served("c.example", kOnlyRsa), 2);
  EXPECT_EQ(served("c.example", kOnlyEcdsa), -1);
  EXPECT_EQ(served(nullptr, kOnlyRsa), -1) << "the second lacks a name of the first";
}

TEST_F(SeveralCertificates, EveryKeyIsServedWithItsSignature) {
  const auto curve = [](const char* name) {
    return certificate("DNS:a.example", PkeyHandle(EVP_EC_gen(name)));
  };
  constexpr const char* kAll =
      "ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:ed25519:"
      "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512";
  const std::pair<std::shared_ptr<const TlsCertificate>, const char*> rows[] = {
      {curve("P-256"), "ecdsa_secp256r1_sha256"},
      {curve("P-384"), "ecdsa_secp384r1_sha384"},
      {curve("P-521"), "ecdsa_secp521r1_sha512"},
      {certificate("DNS:a.example", EVP_PKEY_ED25519), "ed25519"},
      {certificate("DNS:a.example", EVP_PKEY_RSA), "rsa_pss_rsae_sha256"},
      {certificate("DNS:a.example", EVP_PKEY_RSA), "rsa_pss_rsae_sha512"}};
  for (const auto& [key, signature] : rows) {
    serve({key});
    EXPECT_EQ(served("a.example", kAll), 0) << signature;
    EXPECT_EQ(served("a.example", signature), 0) << signature;
  }
  serve({rows[4].first, rows[3].first, rows[1].first});
  EXPECT_EQ(served("a.example", "rsa_pss_rsae_sha384"), 0);
  EXPECT_EQ(served("a.example", "ed25519"), 1);
  EXPECT_EQ(served("a.example", "ecdsa_secp384r1_sha384"), 2);
  EXPECT_EQ(served("a.example", "ecdsa_secp256r1_sha256"), -1);
}

TEST_F(SeveralCertificates, AHelloRetryRequestChangesNothing) {
  serve({certificate("DNS:a.example"), certificate("DNS:c.example")});
  EXPECT_EQ(served("c.example", kBoth, "P-521:P-256"), 1);
  EXPECT_EQ(served("a.example", kBoth, "P-521:P-256"), 0);
}

TEST_F(SeveralCertificates, TheRulesAreTheSameForEach) {
  serve({certificate("DNS:a.example"), certificate("DNS:c.example")});
  for (const std::string& offer : {""s, "\x02h2"s}) {
    Handshake handshake(*context_);
    EXPECT_FALSE(handshake.alpn(offer).asks_for("c.example").run());
    EXPECT_EQ(handshake.failure(), TlsFailure::kNoAlpn);
  }
  Handshake handshake(*context_);
  ASSERT_TRUE(handshake.alpn("\x07ntske/1"s).asks_for("c.example").run());
  EXPECT_STREQ(SSL_get_cipher_name(handshake.client()), "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(SSL_SESSION_is_resumable(SSL_get0_session(handshake.client())), 0);
}

TEST_F(SeveralCertificates, SessionsOutliveTheContextTheyBeganWith) {
  serve({certificate("DNS:a.example"), certificate("DNS:c.example")});
  Handshake handshake(*context_);
  context_.reset();
  EXPECT_TRUE(handshake.alpn("\x07ntske/1"s).asks_for("c.example").run());
}

}  // namespace
}  // namespace timeball::server
