// The certificate follows its files, and a bad one changes nothing.
#include "server/certificate_store.h"

#include <gtest/gtest.h>

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
    store_ = CertificateStore::open(chain(), key()).value();
  }
  ~CertificateStoreTest() override { fs::remove_all(directory_); }

  // Lab certificates are good for some thirteen months from `when`.
  void issue(const std::string& version, UtcTime when) {
    made_[version] = make_lab_certificates(directory_ / version, {}, when).value();
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
  bool uses(const std::string& version) const {
    const auto context =
        TlsContext::make(made_.at(version).certificate_chain, made_.at(version).private_key);
    return (*context)->same_certificate(*store_->contexts().current());
  }

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
  EXPECT_TRUE(store_->status().refused);
  EXPECT_EQ(store_->status().failures, 1U);
  look();  // nothing has changed: not read again
  EXPECT_EQ(store_->status().failures, 1U);
  link("2");
  look();
  EXPECT_TRUE(uses("2"));
  EXPECT_FALSE(store_->status().refused);
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
  EXPECT_FALSE(store_->status().refused);
}

TEST_F(CertificateStoreTest, AnExpiredOneIsRefusedOnceTheTimeIsKnown) {
  look();
  issue("old", kUtc - std::chrono::hours(24 * 500));
  link("old");
  look();
  EXPECT_TRUE(uses("1"));
  EXPECT_TRUE(store_->status().refused);
  EXPECT_FALSE(CertificateStore::read(chain(), key(), kUtc));
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
  EXPECT_FALSE(begun->same_certificate(*store_->contexts().current()));
  EXPECT_TRUE(begun->new_session());
}

}  // namespace
}  // namespace timeball::server
