// The certificate follows its files, and a bad one changes nothing.
#include "server/certificate_store.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <filesystem>
#include <fstream>

#include "server/lab_certificate.h"

namespace timeball::server {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr UtcTime kUtc{1'800'000'000'000'000'000};

// As certbot keeps them: archive/, and live/ with symbolic links to the newest.
class CertificateStoreTest : public testing::Test {
 protected:
  CertificateStoreTest() {
    std::string pattern = fs::temp_directory_path() / "timeball-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    fs::create_directory(directory_ / "live");
    issue("1", kUtc);
    link("1");
    store_ = CertificateStore::open({{chain(), key()}}).value();
  }
  ~CertificateStoreTest() override { fs::remove_all(directory_); }

  // Lab certificates are good for some thirteen months from `when`.
  void issue(const std::string& version, UtcTime when, const std::vector<std::string>& hosts = {}) {
    made_[version] = make_lab_certificates(directory_ / version, hosts, when).value();
  }
  void link(const std::string& version) {
    link(chain(), made_[version].certificate_chain);
    link(key(), made_[version].private_key);
  }
  static void link(const fs::path& from, const fs::path& to) {
    fs::remove(from);
    fs::create_symlink(to, from);
  }
  fs::path chain() const { return directory_ / "live" / "chain.pem"; }
  fs::path key() const { return directory_ / "live" / "key.pem"; }

  // Ten seconds later.
  void look(CertificateStore::Now utc = kUtc) {
    at_ = at_ + 10s;
    store_->tick(at_, utc);
  }
  bool uses(const std::string& version) const { return serves(version, "localhost"); }
  // Whether clients that ask for this name get that version.
  bool serves(const std::string& version, const char* name) const {
    const auto certificate =
        TlsCertificate::read({made_.at(version).certificate_chain, made_.at(version).private_key});
    const X509Handle served = served_for(name);
    return served && X509_cmp(served.get(), (*certificate)->leaf()) == 0;
  }
  X509Handle served_for(const char* name) const {
    const OpenSsl<SSL_CTX, SSL_CTX_free> context(SSL_CTX_new(TLS_client_method()));
    const OpenSsl<SSL, SSL_free> client(SSL_new(context.get()));
    const auto server = store_->contexts().current()->new_session();
    BIO* to_server = nullptr;
    BIO* to_client = nullptr;
    BIO_new_bio_pair(&to_server, 0, &to_client, 0);
    SSL_set_bio(client.get(), to_server, to_server);
    SSL_set_bio(server.get(), to_client, to_client);
    SSL_set_connect_state(client.get());
    SSL_set_tlsext_host_name(client.get(), name);
    static constexpr unsigned char kAlpn[] = "\x07ntske/1";
    SSL_set_alpn_protos(client.get(), kAlpn, sizeof kAlpn - 1);
    for (int i = 0; i < 4 && SSL_do_handshake(client.get()) != 1; ++i) {
      SSL_do_handshake(server.get());
    }
    return X509Handle(SSL_get1_peer_certificate(client.get()));
  }

  bool refused(std::size_t pair = 0) const { return store_->status().each.at(pair).refused; }

  fs::path directory_;
  std::map<std::string, LabCertificates> made_;
  std::unique_ptr<CertificateStore> store_;
  MonotonicTime at_{};
};

TEST_F(CertificateStoreTest, ANewTargetOfTheLinksIsTakenUp) {
  look();
  EXPECT_EQ(store_->status().reloads, 0U);
  issue("2", kUtc);
  look();
  EXPECT_TRUE(uses("1"));
  link("2");
  look();
  EXPECT_TRUE(uses("2"));
  EXPECT_EQ(store_->status().reloads, 1U);
  EXPECT_EQ(store_->status().failures, 0U);
  look();
  EXPECT_EQ(store_->status().reloads, 1U);
}

TEST_F(CertificateStoreTest, HalfARenewalWaitsForTheOtherHalf) {
  look();
  issue("2", kUtc);
  link(chain(), made_["2"].certificate_chain);
  look();
  EXPECT_TRUE(uses("1"));
  EXPECT_TRUE(refused());
  EXPECT_EQ(store_->status().failures, 1U);
  look();  // nothing has changed: not read again
  EXPECT_EQ(store_->status().failures, 1U);
  link("2");
  look();
  EXPECT_TRUE(uses("2"));
  EXPECT_FALSE(refused());
}

TEST_F(CertificateStoreTest, AFileThatIsNoneOrGoneChangesNothing) {
  look();
  std::ofstream(directory_ / "garbage") << "-----BEGIN CERTIFICATE-----\nMII";
  link(chain(), directory_ / "garbage");
  look();
  EXPECT_TRUE(uses("1"));
  fs::remove(chain());
  look();
  EXPECT_TRUE(uses("1"));
  EXPECT_EQ(store_->status().failures, 2U);
  link("1");
  look();
  EXPECT_FALSE(refused());
}

TEST_F(CertificateStoreTest, AnExpiredOneIsRefusedOnceTheTimeIsKnown) {
  look();
  issue("old", kUtc - std::chrono::hours(24 * 500));
  link("old");
  look();
  EXPECT_TRUE(uses("1"));
  EXPECT_TRUE(refused());
  EXPECT_FALSE(store_->read({{chain(), key()}}, kUtc));
  // A machine whose clock says 1970 cannot judge.
  link("1");
  look();
  link("old");
  look(std::nullopt);
  EXPECT_TRUE(uses("old"));
}

TEST_F(CertificateStoreTest, ReadsOnceAnHourWhateverTheFilesSay) {
  look();
  fs::permissions(key(), fs::perms::none);
  for (int i = 0; i < 359; ++i) look();
  EXPECT_EQ(store_->status().failures + store_->status().reloads, 0U);
  // An overwrite that nothing shows: same file, same length, same time.
  const auto modified = fs::last_write_time(made_["1"].certificate_chain);
  std::fstream file(made_["1"].certificate_chain, std::ios::in | std::ios::out);
  file.seekp(200);
  file << "!!!!";
  file.close();
  fs::last_write_time(made_["1"].certificate_chain, modified);
  look();
  look();
  EXPECT_EQ(store_->status().failures, 1U);
}

TEST_F(CertificateStoreTest, SessionsBegunKeepTheirs) {
  const auto begun = store_->contexts().current();
  look();
  issue("2", kUtc);
  link("2");
  look();
  EXPECT_TRUE(uses("2"));
  EXPECT_NE(begun, store_->contexts().current());
  EXPECT_TRUE(begun->new_session());
}

TEST_F(CertificateStoreTest, OneThatIsNotValidYetIsRefusedOnceTheTimeIsKnown) {
  look();
  issue("young", kUtc + std::chrono::hours(24 * 30));
  link("young");
  look();
  EXPECT_TRUE(uses("1"));
  EXPECT_TRUE(refused());
}

// A machine boots in 1970, and learns the time within a minute.
TEST_F(CertificateStoreTest, OneThatHasExpiredIsSaidAsSoonAsTheTimeIsKnown) {
  look(std::nullopt);
  EXPECT_FALSE(refused());
  const UtcTime later = kUtc + std::chrono::hours(24 * 500);
  look(later);
  EXPECT_TRUE(refused());
  EXPECT_TRUE(uses("1")) << "there is no better one";
  look(later);
  EXPECT_EQ(store_->status().failures, 1U) << "said once";
  EXPECT_TRUE(store_->read({{chain(), key()}}, later)) << "what is in use does not stop a reload";
  issue("2", later);
  link("2");
  look(later);
  EXPECT_FALSE(refused());
  EXPECT_TRUE(uses("2"));
}

class SeveralCertificates : public CertificateStoreTest {
 protected:
  SeveralCertificates() {
    issue("a", kUtc, {"a.example"});
    issue("b", kUtc, {"b.example"});
    for (const char* name : {"a", "b"}) {
      link(pair(name).certificate, made_[name].certificate_chain);
      link(pair(name).private_key, made_[name].private_key);
    }
    store_ = CertificateStore::open({pair("a"), pair("b")}).value();
    look();
  }
  CertificateFiles pair(const std::string& name) const {
    return {directory_ / "live" / (name + ".pem"), directory_ / "live" / (name + ".key")};
  }
};

TEST_F(SeveralCertificates, ABadReplacementOfOneDoesNotStopTheOther) {
  issue("b2", kUtc, {"b.example"});
  fs::remove(pair("a").certificate);
  link(pair("b").certificate, made_["b2"].certificate_chain);
  link(pair("b").private_key, made_["b2"].private_key);
  look();
  EXPECT_TRUE(serves("a", "a.example"));
  EXPECT_TRUE(serves("b2", "b.example"));
  EXPECT_TRUE(refused(0));
  EXPECT_FALSE(refused(1));
  EXPECT_EQ(store_->status().reloads, 1U);
  EXPECT_EQ(store_->status().failures, 1U);
  EXPECT_EQ(store_->status().each.at(1).file, pair("b").certificate);
}

TEST_F(SeveralCertificates, AReloadTakesAllOrNothing) {
  issue("c", kUtc, {"c.example"});
  const CertificateFiles c{made_["c"].certificate_chain, made_["c"].private_key};
  EXPECT_FALSE(store_->read({c, {"/nowhere", "/nowhere"}}, kUtc));
  auto read = store_->read({c, pair("b")}, kUtc);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(serves("a", "other.example"));
  store_->take(std::move(*read));
  EXPECT_TRUE(serves("c", "other.example"));
  EXPECT_TRUE(serves("b", "b.example"));
  EXPECT_EQ(store_->status().reloads, 1U);
  EXPECT_EQ(store_->status().each.size(), 2U);
  look();
  EXPECT_EQ(store_->status().reloads, 1U);
}

}  // namespace
}  // namespace timeball::server
