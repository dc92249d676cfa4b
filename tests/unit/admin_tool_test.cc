// What `timeball keys` and its kin print.
#include "server/admin_tool.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace timeball::server {
namespace {

boost::json::object parsed(const char* text) {
  return boost::json::parse(text).as_object();
}

TEST(AdminTool, KeysAreShownByIdentifierAndAge) {
  const auto answer = parsed(R"({"ok":true,"provider":"file","file":"/k","age_s":7200,
      "next_rotation_s":79200,"generations":[{"id":"00000002","role":"next"},
      {"id":"00000001","role":"current"},{"id":"ffffffff","role":"old"}]})");
  EXPECT_EQ(answer_text("keys show", answer),
            "provider       file /k\n"
            "rotated        2h ago\n"
            "next rotation  in 22h\n"
            "next           00000002\n"
            "current        00000001\n"
            "old            ffffffff\n");
}

TEST(AdminTool, KeysInMemoryAreSaidToBe) {
  const auto answer =
      parsed(R"({"provider":"file","file":"","age_s":0,"next_rotation_s":0,"generations":[]})");
  EXPECT_NE(answer_text("keys show", answer).find("file (in memory only)"), std::string::npos);
}

TEST(AdminTool, TheRestSayWhatWasDone) {
  EXPECT_EQ(answer_text("reload", parsed(R"({"ok":true,"done":"reloaded"})")), "reloaded\n");
  EXPECT_EQ(answer_text("reload", parsed(R"({"ok":true})")), "done\n");
}

}  // namespace
}  // namespace timeball::server
