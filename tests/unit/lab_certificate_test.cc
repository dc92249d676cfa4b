#include "server/lab_certificate.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "common/base/openssl_handle.h"
#include "common/time/ntp_timestamp.h"

namespace timeball::server {
namespace {

namespace fs = std::filesystem;
using Certificate = OpenSsl<X509, X509_free>;
using Key = OpenSsl<EVP_PKEY, EVP_PKEY_free>;
using Bio = OpenSsl<BIO, BIO_free_all>;

constexpr UtcTime kNow{1'700'000'000 * kNsPerSecond};
constexpr std::chrono::hours kDay{24};

std::string read_text(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

Certificate load_certificate(const fs::path& path) {
  const Bio bio(BIO_new_file(path.c_str(), "r"));
  return Certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr);
}

Key load_key(const fs::path& path) {
  const Bio bio(BIO_new_file(path.c_str(), "r"));
  return Key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr) : nullptr);
}

mode_t mode_of(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

// What a TLS client would make of the certificate, as an X509_V_ERR_ number.
int verify(const LabCertificates& files, const std::string& host, UtcTime at) {
  const Certificate ca = load_certificate(files.ca_certificate);
  const Certificate leaf = load_certificate(files.certificate_chain);
  const OpenSsl<X509_STORE, X509_STORE_free> store(X509_STORE_new());
  const OpenSsl<X509_STORE_CTX, X509_STORE_CTX_free> context(X509_STORE_CTX_new());
  X509_STORE_add_cert(store.get(), ca.get());
  X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), nullptr);
  X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context.get());
  if (X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str()) != 1)
    X509_VERIFY_PARAM_set1_host(parameters, host.c_str(), host.size());
  X509_VERIFY_PARAM_set_purpose(parameters, X509_PURPOSE_SSL_SERVER);
  X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT);
  X509_VERIFY_PARAM_set_time(parameters, static_cast<time_t>(at.ns / kNsPerSecond));
  X509_verify_cert(context.get());
  return X509_STORE_CTX_get_error(context.get());
}

class LabCertificate : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "timeball-lab-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }

  Result<LabCertificates> make(const std::vector<std::string>& hosts = {}, UtcTime now = kNow,
                               bool overwrite = false) {
    return make_lab_certificates(root_ / "lab", hosts, now, overwrite);
  }
  void expect_refused(const std::string& words, const std::vector<std::string>& hosts = {},
                      UtcTime now = kNow) {
    const Result<LabCertificates> made = make(hosts, now);
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().message.find(words), std::string::npos) << made.error().message;
  }

  fs::path root_;
};

TEST_F(LabCertificate, default_hosts_verify_by_name_and_address) {
  const auto made = make();
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->hosts, default_lab_hosts());
  EXPECT_FALSE(made->ca_reused);
  for (const std::string& host : made->hosts)
    EXPECT_EQ(verify(*made, host, kNow), X509_V_OK) << host;
}

TEST_F(LabCertificate, other_names_and_addresses_do_not_verify) {
  const auto made = make({"ntp.lab.example", "*.rack.example", "192.0.2.7"});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(verify(*made, "ntp.lab.example", kNow), X509_V_OK);
  EXPECT_EQ(verify(*made, "a.rack.example", kNow), X509_V_OK);
  EXPECT_EQ(verify(*made, "192.0.2.7", kNow), X509_V_OK);
  EXPECT_EQ(verify(*made, "localhost", kNow), X509_V_ERR_HOSTNAME_MISMATCH);
  EXPECT_EQ(verify(*made, "192.0.2.8", kNow), X509_V_ERR_IP_ADDRESS_MISMATCH);
}

TEST_F(LabCertificate, is_backdated_by_a_day_and_ends_after_397_days) {
  const auto made = make();
  ASSERT_TRUE(made);
  EXPECT_EQ(verify(*made, "localhost", kNow - kDay), X509_V_OK);
  EXPECT_EQ(verify(*made, "localhost", kNow - kDay - std::chrono::seconds(1)),
            X509_V_ERR_CERT_NOT_YET_VALID);
  EXPECT_EQ(verify(*made, "localhost", kNow + 397 * kDay - std::chrono::seconds(1)), X509_V_OK);
  EXPECT_EQ(verify(*made, "localhost", kNow + 397 * kDay + std::chrono::seconds(1)),
            X509_V_ERR_CERT_HAS_EXPIRED);
}

TEST_F(LabCertificate, certificate_outlives_neither_its_ca_nor_2036) {
  ASSERT_TRUE(make());
  const UtcTime late = kNow + 3600 * kDay;
  const auto renewed = make({}, late);
  ASSERT_TRUE(renewed) << renewed.error().message;
  EXPECT_EQ(verify(*renewed, "localhost", kNow + 3650 * kDay - std::chrono::hours(1)), X509_V_OK);
  EXPECT_EQ(verify(*renewed, "localhost", kNow + 3650 * kDay + std::chrono::hours(1)),
            X509_V_ERR_CERT_HAS_EXPIRED);
  const UtcTime era_1{2'200'000'000 * kNsPerSecond};
  const auto later = make({}, era_1, true);
  ASSERT_TRUE(later) << later.error().message;
  EXPECT_EQ(verify(*later, "localhost", era_1), X509_V_OK);
}

TEST_F(LabCertificate, keys_match_are_p256_and_private) {
  const auto made = make();
  ASSERT_TRUE(made);
  EXPECT_EQ(mode_of(made->private_key), 0600U);
  EXPECT_EQ(mode_of(made->ca_key), 0600U);
  EXPECT_EQ(mode_of(made->certificate_chain), 0644U);
  EXPECT_EQ(mode_of(made->ca_certificate), 0644U);
  const Certificate leaf = load_certificate(made->certificate_chain);
  const Key key = load_key(made->private_key);
  ASSERT_TRUE(leaf && key);
  EXPECT_EQ(X509_check_private_key(leaf.get(), key.get()), 1);
  EXPECT_EQ(EVP_PKEY_get_bits(key.get()), 256);
  EXPECT_EQ(X509_check_ca(leaf.get()), 0);
}

TEST_F(LabCertificate, leaves_no_temporary_files) {
  ASSERT_TRUE(make());
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(root_ / "lab")) {
    ++files;
    EXPECT_NE(entry.path().extension(), ".new");
  }
  EXPECT_EQ(files, 4U);
}

TEST_F(LabCertificate, second_run_keeps_the_ca_and_renews_the_server) {
  const auto first = make();
  ASSERT_TRUE(first);
  const std::string ca = read_text(first->ca_certificate);
  const std::string ca_key = read_text(first->ca_key);
  const std::string key = read_text(first->private_key);
  const auto second = make({"ntp.lab.example"}, kNow + 30 * kDay);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(second->ca_reused);
  EXPECT_EQ(read_text(second->ca_certificate), ca);
  EXPECT_EQ(read_text(second->ca_key), ca_key);
  EXPECT_NE(read_text(second->private_key), key);
  EXPECT_EQ(verify(*second, "ntp.lab.example", kNow + 30 * kDay), X509_V_OK);
}

TEST_F(LabCertificate, foreign_private_key_is_left_alone_without_overwrite) {
  fs::create_directories(root_ / "lab");
  std::ofstream(root_ / "lab/key.pem") << "somebody's key\n";
  expect_refused("--force");
  EXPECT_EQ(read_text(root_ / "lab/key.pem"), "somebody's key\n");
  EXPECT_FALSE(fs::exists(root_ / "lab/ca.key"));
  const auto forced = make({}, kNow, true);
  ASSERT_TRUE(forced) << forced.error().message;
  EXPECT_EQ(verify(*forced, "localhost", kNow), X509_V_OK);
}

TEST_F(LabCertificate, key_of_another_labs_server_is_foreign) {
  ASSERT_TRUE(make());
  const auto other = make_lab_certificates(root_ / "other", {}, kNow);
  ASSERT_TRUE(other);
  for (const char* name : {"key.pem", "chain.pem"})
    fs::copy_file(root_ / "other" / name, root_ / "lab" / name,
                  fs::copy_options::overwrite_existing);
  expect_refused("left alone");
}

TEST_F(LabCertificate, half_a_ca_is_an_error_that_names_the_file) {
  const auto made = make();
  ASSERT_TRUE(made);
  fs::remove(made->ca_key);
  expect_refused("ca.key is missing");
  fs::rename(made->ca_certificate, made->ca_key);
  expect_refused("ca.key is missing or is not a private key");
}

TEST_F(LabCertificate, ca_with_another_key_is_refused) {
  const auto made = make();
  ASSERT_TRUE(made);
  const auto other = make_lab_certificates(root_ / "other", {}, kNow);
  ASSERT_TRUE(other);
  fs::copy_file(other->ca_key, made->ca_key, fs::copy_options::overwrite_existing);
  expect_refused("is not a CA with the key");
}

TEST_F(LabCertificate, expired_ca_is_replaced_only_when_told) {
  ASSERT_TRUE(make());
  const UtcTime late = kNow + 3651 * kDay;
  expect_refused("expired", {}, late);
  const auto forced = make({}, late, true);
  ASSERT_TRUE(forced) << forced.error().message;
  EXPECT_FALSE(forced->ca_reused);
  EXPECT_EQ(verify(*forced, "localhost", late), X509_V_OK);
}

TEST_F(LabCertificate, bad_host_names_are_refused_before_anything_is_made) {
  for (const char* bad :
       {"", "a b", "-a.example", "a..b", "a.example.", "ntp_1.example", "DNS:evil,IP:1.2.3.4",
        "b\xc3\xbc"
        "cher.example",
        "fe80::1%eth0"}) {
    expect_refused("neither an IP address nor a DNS name", {"good.example", bad});
  }
  EXPECT_FALSE(fs::exists(root_ / "lab"));
}

TEST_F(LabCertificate, directory_that_cannot_be_made_is_named) {
  std::ofstream(root_ / "lab") << "a file\n";
  expect_refused((root_ / "lab").string());
}

}  // namespace
}  // namespace timeball::server
