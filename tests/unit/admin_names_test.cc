#include "server/admin_names.h"

#include <gtest/gtest.h>

namespace timeball::server {
namespace {

const AdminNames kNames({"Rack7", "time.example.net"});

TEST(AdminNames, HaveAddressesLocalhostAndWhatWasGiven) {
  for (const char* host :
       {"127.0.0.1", "127.0.0.1:9123", "192.0.2.7:80", "[::1]", "[2001:db8::1]:9123", "localhost",
        "LocalHost:9123", "rack7", "RACK7:9123", "rack7.", "time.example.net.:9123", ""}) {
    EXPECT_TRUE(kNames.has(host)) << host;
  }
}

TEST(AdminNames, HaveNothingElse) {
  for (const char* host :
       {"evil.test", "evil.test:9123", "rack7.evil.test", "rack", "localhost.evil.test",
        "127.0.0.1.evil.test", "evil.test:127.0.0.1", "[evil.test]", "[evil.test]:9123", "[", "[]",
        ":9123", ".", "127.1", "0x7f000001", "2130706433", "rack7,evil.test", "time.example.net..",
        " localhost"}) {
    EXPECT_FALSE(kNames.has(host)) << host;
  }
}

}  // namespace
}  // namespace timeball::server
