#include "server/admin_token.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace timeball::server {
namespace {

constexpr const char* kToken = "0123456789abcdef/+=!";

AdminToken token() {
  return *AdminToken::parse(kToken);
}

std::string base64(const std::string& text) {
  std::string out((text.size() + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  out.resize(static_cast<std::size_t>(length));
  return out;
}

TEST(AdminToken, IsOneLineOfEnoughPrintableCharacters) {
  EXPECT_TRUE(AdminToken::parse("0123456789abcdef"));
  EXPECT_TRUE(AdminToken::parse("0123456789abcdef\n"));
  EXPECT_TRUE(AdminToken::parse(std::string(512, 'x')));
  for (const std::string& bad :
       {std::string(), std::string("0123456789abcde"), std::string("0123456789abcde\n"),
        std::string("0123456789 abcdef"), std::string("0123456789abcdef\n\n"),
        std::string("0123456789abcdef\r\n"), std::string("0123456789abcdef\xC3\xA4"),
        std::string("0123456789abcdef\0", 17), std::string(513, 'x')}) {
    const auto refused = AdminToken::parse(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_NE(refused.error().message.find("16 to 512 printable"), std::string::npos);
  }
}

TEST(AdminToken, ProgramsShowItAsBearer) {
  const std::string t = kToken;
  for (const std::string& good : {"Bearer " + t, "bearer " + t, "BEARER  " + t}) {
    EXPECT_TRUE(token().admits(good)) << good;
  }
  for (const std::string& bad :
       {std::string(), t, std::string("Bearer"), std::string("Bearer "), "Bearer" + t,
        "Bearer " + t + "x", "Bearer " + t + " ", "Bearer x" + t.substr(1),
        "Bearer " + t.substr(0, t.size() - 1), "Digest " + t, " Bearer " + t}) {
    EXPECT_FALSE(token().admits(bad)) << bad;
  }
}

TEST(AdminToken, BrowsersShowItAsThePasswordOfAnybody) {
  const std::string t = kToken;
  for (const std::string name : {"", "operator", "a", "ab", "abc"}) {
    EXPECT_TRUE(token().admits("Basic " + base64(name + ":" + t))) << name;
  }
  EXPECT_TRUE(token().admits("basic " + base64(":" + t)));
  for (const std::string& bad :
       {base64(t), base64("a:" + t + "x"), base64("a:b:" + t), base64(t + ":"), std::string("===="),
        std::string("="), std::string("!!!!"), base64("a:" + t).substr(1), std::string(2000, 'A'),
        std::string()}) {
    EXPECT_FALSE(token().admits("Basic " + bad)) << bad;
  }
}

TEST(AdminToken, ItsFileIsForThisUserAlone) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("token." + std::to_string(getpid()));
  std::ofstream(path) << kToken << '\n';
  ::chmod(path.c_str(), 0600);
  const auto read = AdminToken::read(path);
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->admits(std::string("Bearer ") + kToken));
  ::chmod(path.c_str(), 0644);
  EXPECT_FALSE(AdminToken::read(path));
  std::filesystem::remove(path);
  EXPECT_NE(AdminToken::read(path).error().message.find("is not there"), std::string::npos);
}

}  // namespace
}  // namespace timeball::server
