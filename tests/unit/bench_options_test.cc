#include "bench/load_options.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "bench/load_command.h"
#include "bench/load_manual.h"
#include "bench/load_target.h"
#include "bench/local_addresses.h"

namespace timeball::bench {
namespace {

using namespace std::chrono_literals;

class Options : public testing::Test {
 protected:
  Options() { add_common_options(app_, options_); }

  void parse(const std::string& arguments) { app_.parse("127.0.0.1 " + arguments); }
  // What is said against it; empty: nothing.
  std::string complaint(const std::string& arguments) {
    try {
      parse(arguments);
    } catch (const CLI::ParseError& e) {
      return e.what();
    }
    return "";
  }

  CommonOptions options_;
  CLI::App app_;
};

TEST_F(Options, DefaultsAreThoseOfTheManual) {
  parse("");
  EXPECT_EQ(options_.target, "127.0.0.1");
  EXPECT_EQ(options_.duration, 10s);
  EXPECT_EQ(options_.warm_up, 500ms);
  EXPECT_FALSE(options_.own_server);
  EXPECT_FALSE(options_.ke.verify);
  EXPECT_EQ(options_.ke.request.aeads, (std::vector<std::uint16_t>{30, 15, 17, 16}));
  EXPECT_FALSE(options_.limits.loss || options_.limits.p99 || options_.server_pid);
}

TEST_F(Options, EachReachesItsPlace) {
  parse(
      "--duration 250ms --warm-up 0s --server-pid 42 --fail-loss 0.1% --fail-p99 5ms --aead 15 "
      "--aead 30 --ca f.pem --timeout 1s --i-own-this-server --json - --html h");
  EXPECT_EQ(options_.duration, 250ms);
  EXPECT_EQ(options_.warm_up, 0s);
  EXPECT_EQ(options_.server_pid, 42);
  EXPECT_DOUBLE_EQ(options_.limits.loss.value(), 0.001);
  EXPECT_EQ(options_.limits.p99, 5ms);
  EXPECT_EQ(options_.ke.request.aeads, (std::vector<std::uint16_t>{15, 30}));
  EXPECT_EQ(options_.ke.ca_file, "f.pem");
  EXPECT_TRUE(options_.ke.verify);
  EXPECT_EQ(options_.ke.timeout, 1s);
  EXPECT_TRUE(options_.own_server);
  EXPECT_EQ(options_.json_file, "-");
  EXPECT_EQ(options_.html_file, "h");
}

TEST_F(Options, WhatIsWrongIsNamedWithTheRightForm) {
  EXPECT_NE(complaint("--duration 3").find("write a number with a unit: 10s, 250ms"),
            std::string::npos);
  EXPECT_NE(complaint("--duration 1ms").find("at least 100ms"), std::string::npos);
  EXPECT_NE(complaint("--fail-loss 200%").find("0.1% or 0.001"), std::string::npos);
  EXPECT_NE(complaint("--aead 14"), "");
  EXPECT_NE(complaint("--threads 0"), "");
  EXPECT_NE(complaint("--server-pid -1"), "");
}

TEST(Share, IsAPercentageOrAFraction) {
  EXPECT_DOUBLE_EQ(parse_share("0.1%").value(), 0.001);
  EXPECT_DOUBLE_EQ(parse_share("0.001").value(), 0.001);
  EXPECT_DOUBLE_EQ(parse_share("0").value(), 0);
  EXPECT_DOUBLE_EQ(parse_share("100%").value(), 1);
  for (const char* wrong : {"", "%", "-1%", "1.1", "101%", "1 %", "nan", "inf", "x"})
    EXPECT_FALSE(parse_share(wrong)) << wrong;
}

TEST(HostPort, TakesNamesAndAddressesWithAndWithoutPort) {
  const auto is = [](const char* text, const char* host, std::uint16_t port) {
    const auto parsed = parse_host_port(text, 4460);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(parsed->host, host);
    EXPECT_EQ(parsed->port, port);
  };
  is("time.test", "time.test", 4460);
  is("time.test:1234", "time.test", 1234);
  is("192.0.2.1:65535", "192.0.2.1", 65535);
  is("2001:db8::1", "2001:db8::1", 4460);
  is("[2001:db8::1]", "2001:db8::1", 4460);
  is("[fe80::1%eth0]:99", "fe80::1%eth0", 99);
  for (const char* wrong :
       {"", ":4460", "a:", "a:0", "a:65536", "a:1x", "[::1", "[::1]4460", "[]:1", "[::1]:", "a:-1"})
    EXPECT_FALSE(parse_host_port(wrong, 4460)) << wrong;
}

constexpr const char* kFibTrie =
    "Main:\n"
    "  +-- 0.0.0.0/0 3 0 5\n"
    "     |-- 0.0.0.0\n"
    "        /0 universe UNICAST\n"
    "     |-- 198.51.100.0\n"
    "        /24 link UNICAST\n"
    "Local:\n"
    "     |-- 172.18.0.0\n"
    "        /16 host LOCAL\n"
    "     |-- 198.51.100.7\n"
    "        /32 host LOCAL\n"
    "     |-- 198.51.100.255\n"
    "        /32 link BROADCAST\n";

TEST(LocalAddresses, AreThoseTheKernelCallsLocal) {
  LocalAddresses local;
  local.add_fib_trie(kFibTrie);
  local.add_if_inet6("20010db8000000000000000000000007 02 40 00 80     eth0\nnonsense\n");
  const auto holds = [&](const char* text) { return local.contains(*net::IpAddress::parse(text)); };
  EXPECT_TRUE(holds("127.0.0.1"));
  EXPECT_TRUE(holds("127.255.0.9"));
  EXPECT_TRUE(holds("::1"));
  EXPECT_TRUE(holds("198.51.100.7"));
  EXPECT_TRUE(holds("172.18.200.1"));
  EXPECT_TRUE(holds("2001:db8::7"));
  EXPECT_FALSE(holds("198.51.100.8"));
  EXPECT_FALSE(holds("198.51.100.255"));
  EXPECT_FALSE(holds("172.19.0.1"));
  EXPECT_FALSE(holds("2001:db8::8"));
  EXPECT_FALSE(holds("0.0.0.0"));
}

TEST(LocalAddresses, BadTextAddsNothing) {
  LocalAddresses local;
  local.add_fib_trie("/32 host LOCAL\n|-- x\n/32 host LOCAL\n|-- 192.0.2.1\n/99 host LOCAL\n");
  local.add_if_inet6("2001\n\n20010db800000000000000000000000g 02\n");
  EXPECT_FALSE(local.contains(*net::IpAddress::parse("192.0.2.1")));
  EXPECT_FALSE(local.contains(*net::IpAddress::parse("2001:db8::")));
}

// Not an address of another test's namespace: find_target() looks at those of all processes.
TEST(Target, ForeignOneNeedsItsOwnersWord) {
  const auto refused = find_target("203.0.113.1", 4460, false);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("--i-own-this-server"), std::string::npos);
  const auto owned = find_target("203.0.113.1:99", 4460, true);
  ASSERT_TRUE(owned);
  EXPECT_FALSE(owned->local);
  EXPECT_EQ(owned->endpoint.to_string(), "203.0.113.1:99");
  const auto loopback = find_target("[::1]", 4460, false);
  ASSERT_TRUE(loopback);
  EXPECT_TRUE(loopback->local);
  EXPECT_EQ(loopback->endpoint.to_string(), "[::1]:4460");
}

class ManualTest : public testing::Test {
 protected:
  ManualTest() {
    commands_.push_back(make_ke_command());
    sub_ = app_.add_subcommand("ke");
    commands_.front()->add_options(*sub_);
    add_common_options(*sub_, options_);
  }
  std::vector<std::string> lines(const std::string& text) const {
    std::vector<std::string> out;
    std::stringstream stream(text);
    for (std::string line; std::getline(stream, line);) out.push_back(line);
    return out;
  }

  CommonOptions options_;
  CLI::App app_;
  CLI::App* sub_;
  LoadCommands commands_;
};

TEST_F(ManualTest, HasTheOptionsOfEveryCommand) {
  commands_.push_back(make_ntp_command());
  CLI::App* ntp = app_.add_subcommand("ntp");
  commands_.back()->add_options(*ntp);
  add_common_options(*ntp, options_);
  const std::string text = as_text(manual_of(app_, commands_));
  for (const CLI::Option* option : ntp->get_options()) {
    const std::string line = "\n    " + option->get_name();
    if (option->get_positional()) continue;
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
  EXPECT_EQ(text.find("\n    --duration"), text.rfind("\n    --duration"));  // once for both
}

TEST_F(ManualTest, HasEveryOptionInBothForms) {
  const std::string text = as_text(manual_of(*sub_, *commands_.front()));
  const std::string page = as_roff(manual_of(app_, commands_), {"ntsload", 1});
  for (const CLI::Option* option :
       sub_->get_options([](const CLI::Option* o) { return o->nonpositional(); })) {
    const std::string name = option->get_name();
    EXPECT_NE(text.find("\n    " + name), std::string::npos) << name;
    std::string dashes;
    for (const char c : name) dashes += c == '-' ? "\\-" : std::string(1, c);
    EXPECT_NE(page.find(".B " + dashes), std::string::npos) << name;
  }
  EXPECT_NE(text.find("--duration TIME\n        How long to measure. Default: 10s."),
            std::string::npos);
}

TEST_F(ManualTest, FitsATerminal) {
  for (const std::string& line : lines(as_text(manual_of(app_, commands_)))) {
    EXPECT_TRUE(line.size() < 80 || line.starts_with("    ntsload")) << line;
    EXPECT_FALSE(line.ends_with(' ')) << '"' << line << '"';
  }
}

}  // namespace
}  // namespace timeball::bench
