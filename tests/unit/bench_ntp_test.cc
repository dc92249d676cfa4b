// The pure parts of `ntsload ntp`, and of the echo that it measures.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "bench/arrival_schedule.h"
#include "bench/cookie_jar.h"
#include "bench/echo_server.h"
#include "bench/outstanding.h"
#include "bench/ramp_search.h"
#include "bench/recently_seen.h"
#include "bench/request_mix.h"
#include "bench/source_addresses.h"
#include "bench/verify_sampler.h"

namespace timeball::bench {
namespace {

using namespace std::chrono_literals;

constexpr SteadyTime kStart{1000s};

// Arrivals.

TEST(ArrivalSchedule, IsEvenlySpacedAndEndsWithTheRun) {
  ArrivalSchedule schedule(kStart, 1s, 1000, 0, 1);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_FALSE(schedule.finished());
    ASSERT_EQ(schedule.take(), kStart + i * 1ms);
  }
  EXPECT_TRUE(schedule.finished());
  EXPECT_FALSE(schedule.due(kStart + 10s));
}

TEST(ArrivalSchedule, IsDueAtItsTimeAndStaysSo) {
  ArrivalSchedule schedule(kStart, 1s, 1000, 0, 1);
  schedule.take();
  EXPECT_FALSE(schedule.due(kStart + 1ms - 1ns));
  EXPECT_TRUE(schedule.due(kStart + 1ms));
  EXPECT_TRUE(schedule.due(kStart + 900ms));
  EXPECT_EQ(schedule.take(), kStart + 1ms);  // whenever it is asked for
}

TEST(ArrivalSchedule, ThreadsShareOneScheduleOutBetweenThem) {
  ArrivalSchedule whole(kStart, 1s, 3333, 0, 1);
  std::array<ArrivalSchedule, 3> parts = {ArrivalSchedule(kStart, 1s, 3333, 0, 3),
                                          ArrivalSchedule(kStart, 1s, 3333, 1, 3),
                                          ArrivalSchedule(kStart, 1s, 3333, 2, 3)};
  for (std::size_t i = 0; !whole.finished(); ++i) ASSERT_EQ(whole.take(), parts[i % 3].take()) << i;
  for (const ArrivalSchedule& part : parts) EXPECT_TRUE(part.finished());
}

TEST(ArrivalSchedule, RoundingDoesNotAddUp) {
  ArrivalSchedule schedule(kStart, 1h, 300'000, 0, 1);
  SteadyTime last{};
  for (int i = 0; i < 3'000'001; ++i) last = schedule.take();
  EXPECT_EQ(last, kStart + 10s);
}

// Outstanding requests.

class Outstanding : public testing::Test {
 protected:
  SentRecord& add(SteadyTime sent = kStart) {
    SentRecord& record = table_.add(random_ += 0x9e3779b97f4a7c15U);
    record.sent = sent;
    return record;
  }
  // How many were told to be lost.
  int expire(SteadyTime limit) {
    int lost = 0;
    table_.expire(limit, [&](const SentRecord& record) {
      EXPECT_EQ(record.state, SentRecord::State::kLost);
      ++lost;
    });
    return lost;
  }

  OutstandingTable table_{8, 12345};
  std::uint64_t random_ = 1;
};

TEST_F(Outstanding, IsFoundByItsTimestampAlone) {
  std::set<std::uint64_t> timestamps;
  for (int i = 0; i < 8; ++i) {
    SentRecord& record = add();
    EXPECT_EQ(table_.find(record.transmit), &record);
    EXPECT_EQ(&table_.at(table_.index_of(record)), &record);
    for (int bit = 0; bit < 64; ++bit) {
      EXPECT_EQ(table_.find({record.transmit.bits ^ (std::uint64_t{1} << bit)}), nullptr);
    }
    timestamps.insert(record.transmit.bits);
  }
  EXPECT_EQ(timestamps.size(), 8U);
  EXPECT_EQ(table_.find({0}), nullptr);
}

TEST_F(Outstanding, TimestampsHideTheOrder) {
  OutstandingTable large(1 << 16, 99);
  std::map<std::uint64_t, int> low_bits;
  for (int i = 0; i < 4096; ++i) {
    const SentRecord& record = large.add(random_ += 0x9e3779b97f4a7c15U);
    ++low_bits[record.transmit.bits >> 12 & 15];  // of the place in the ring, constant so far
  }
  EXPECT_EQ(low_bits.size(), 16U);
}

TEST_F(Outstanding, IsFullUntilTheOldestIsSettled) {
  SentRecord& first = add();
  SentRecord& second = add();
  for (int i = 2; i < 8; ++i) add();
  EXPECT_EQ(table_.room(), 0U);
  EXPECT_EQ(table_.waiting(), 8U);
  table_.answered(second);
  EXPECT_EQ(expire(kStart - 1ns), 0);
  EXPECT_EQ(table_.room(), 0U);
  table_.answered(first);
  EXPECT_EQ(expire(kStart - 1ns), 0);
  EXPECT_EQ(table_.room(), 2U);
  EXPECT_EQ(table_.waiting(), 6U);
}

TEST_F(Outstanding, LosesWhatWaitsTooLong) {
  add(kStart);
  table_.answered(add(kStart + 1ms));
  SentRecord& third = add(kStart + 2ms);
  SentRecord& fourth = add(kStart + 3ms);
  EXPECT_EQ(expire(kStart + 2ms), 2);
  EXPECT_EQ(third.state, SentRecord::State::kLost);
  EXPECT_EQ(fourth.state, SentRecord::State::kWaiting);
  EXPECT_EQ(table_.waiting(), 1U);
  EXPECT_EQ(expire(kStart + 2ms), 0);
}

TEST_F(Outstanding, SettledOnesAreKnownUntilTheRingComesRound) {
  const NtpTimestamp transmit = add().transmit;
  table_.answered(*table_.find(transmit));
  for (int i = 0; i < 7; ++i) {
    table_.answered(add());
    ASSERT_NE(table_.find(transmit), nullptr);
    EXPECT_EQ(table_.find(transmit)->state, SentRecord::State::kAnswered);
  }
  expire(kStart);
  add();
  EXPECT_EQ(table_.find(transmit), nullptr);
}

// The mix.

TEST(RequestMix, PicksByWeight) {
  const auto mix = RequestMix::parse("nts=2,plain=1,garbage=1");
  ASSERT_TRUE(mix) << mix.error().message;
  std::array<int, kRequestKinds> picked{};
  for (std::uint64_t i = 0; i < 4096; ++i) {
    ++picked[static_cast<std::size_t>(mix->pick(static_cast<std::uint32_t>(i << 20)))];
  }
  EXPECT_EQ(picked, (std::array<int, kRequestKinds>{1024, 2048, 0, 1024}));
  EXPECT_EQ(mix->pick(0xffff'ffffU), RequestKind::kGarbage);
  EXPECT_EQ(mix->to_string(), "plain 25%, nts 50%, garbage 25%");
  EXPECT_TRUE(mix->needs_associations());
}

TEST(RequestMix, OneKindAlone) {
  for (const RequestKind kind : {RequestKind::kPlain, RequestKind::kNts,
                                 RequestKind::kBadAuthenticator, RequestKind::kGarbage}) {
    const RequestMix mix = RequestMix::only(kind);
    for (const std::uint32_t random : {0U, 1U, 0x8000'0000U, 0xffff'ffffU}) {
      EXPECT_EQ(mix.pick(random), kind);
    }
    EXPECT_EQ(mix.share(kind), 1);
  }
  EXPECT_FALSE(RequestMix::only(RequestKind::kPlain).needs_associations());
  EXPECT_TRUE(RequestMix::only(RequestKind::kBadAuthenticator).needs_associations());
}

TEST(RequestMix, WhatIsNoMixIsRefusedInOneLine) {
  for (const char* text : {"", "nts", "nts=", "=1", "nts=x", "nts=-1", "nts=1,", "nts=1,nts=1",
                           "ntp=1", "nts=1 ", "nts=nan", "nts=inf", "plain=0,nts=0"}) {
    const auto mix = RequestMix::parse(text);
    ASSERT_FALSE(mix) << text;
    EXPECT_EQ(mix.error().message.find('\n'), std::string::npos);
    EXPECT_NE(mix.error().message.find("--mix"), std::string::npos);
  }
}

// The ramp.

// The rates tried against a server that loses above `capacity`.
std::vector<double> ramp(RampSearch& search, double capacity) {
  std::vector<double> tried;
  while (const auto rate = search.next()) {
    tried.push_back(*rate);
    search.report(*rate > capacity);
    if (tried.size() > 1000) break;
  }
  return tried;
}

TEST(RampSearch, FindsTheCapacityWithinItsPrecision) {
  for (const double capacity : {1001.0, 1299.0, 12'345.0, 99'999.0, 777'777.0}) {
    RampSearch search({.from = 1000, .to = 1e6});
    const auto tried = ramp(search, capacity);
    ASSERT_TRUE(search.best());
    EXPECT_LE(*search.best(), capacity);
    EXPECT_GE(*search.best() * 1.05, capacity);
    EXPECT_LT(tried.size(), 60U);
  }
}

TEST(RampSearch, EndsAtTheTopWhenNothingIsLost) {
  RampSearch search({.from = 1000, .to = 2000});
  EXPECT_EQ(ramp(search, 1e9), (std::vector<double>{1000, 1300, 1690, 2000}));
  EXPECT_EQ(search.best(), 2000);
}

TEST(RampSearch, EndsAtOnceWhenTheFirstRateLosesEveryTime) {
  RampSearch search({.from = 1000, .to = 2000});
  EXPECT_EQ(ramp(search, 10), std::vector<double>(RampSearch::kTries, 1000));
  EXPECT_FALSE(search.best());
}

TEST(RampSearch, LossesAreForgivenWhenTheyDoNotComeEveryTime) {
  RampSearch search({.from = 1000, .to = 1300});
  for (unsigned i = 1; i < RampSearch::kTries; ++i) {
    search.report(true);
    EXPECT_EQ(search.next(), 1000);
  }
  search.report(false);
  EXPECT_EQ(search.next(), 1300);
  search.report(true);
  search.report(false);
  EXPECT_FALSE(search.next());
  EXPECT_EQ(search.best(), 1300);
}

TEST(RampLimits, AreReadFromOneWord) {
  const auto limits = parse_ramp("1000-200000x1.5");
  ASSERT_TRUE(limits) << limits.error().message;
  EXPECT_EQ(limits->from, 1000);
  EXPECT_EQ(limits->to, 200'000);
  EXPECT_EQ(limits->factor, 1.5);
  EXPECT_EQ(parse_ramp("1e3-1e5")->factor, 1.3);
  EXPECT_EQ(parse_ramp("7-7")->to, 7);
}

TEST(RampLimits, WhatIsNoRampIsRefusedInOneLine) {
  for (const char* text : {"", "1000", "1000-", "-1000", "0-10", "10-9", "1-2x", "1-2x1", "1-2x0.9",
                           "1x2-3", "a-b", "1-inf", "nan-2", "1-2x1.3 "}) {
    const auto limits = parse_ramp(text);
    ASSERT_FALSE(limits) << text;
    EXPECT_NE(limits.error().message.find("--ramp"), std::string::npos);
  }
}

// Source addresses.

std::vector<std::string> addresses(const char* network, unsigned index, unsigned threads,
                                   int count) {
  SourceAddresses sources(*net::IpPrefix::parse(network), index, threads);
  std::vector<std::string> all;
  for (int i = 0; i < count; ++i) all.push_back(sources.next().to_string());
  return all;
}

TEST(SourceAddresses, GoRoundTheNetworkWithoutItsEnds) {
  EXPECT_EQ(addresses("192.0.2.0/30", 0, 1, 3),
            (std::vector<std::string>{"192.0.2.1", "192.0.2.2", "192.0.2.1"}));
  EXPECT_EQ(addresses("192.0.2.8/31", 0, 1, 2),
            (std::vector<std::string>{"192.0.2.8", "192.0.2.9"}));
  EXPECT_EQ(addresses("192.0.2.8/32", 0, 1, 2),
            (std::vector<std::string>{"192.0.2.8", "192.0.2.8"}));
  EXPECT_EQ(addresses("2001:db8::/64", 0, 1, 2),
            (std::vector<std::string>{"2001:db8::1", "2001:db8::2"}));
}

TEST(SourceAddresses, ThreadsBeginApart) {
  EXPECT_EQ(addresses("172.18.0.0/16", 0, 2, 1), std::vector<std::string>{"172.18.0.1"});
  EXPECT_EQ(addresses("172.18.0.0/16", 1, 2, 1), std::vector<std::string>{"172.18.128.0"});
}

// Cookies.

using Jar = std::deque<std::vector<std::uint8_t>>;

TEST(CookieJar, FaithfulSpendsEachOnceAndTakesNewOnes) {
  CookieJar jar(Jar{{1}, {2}}, false);
  EXPECT_EQ(jar.room(), 6U);
  EXPECT_EQ(jar.take().octets, std::vector<std::uint8_t>{1});
  const std::vector<std::uint8_t> third = {3};
  jar.put(third, 99);
  EXPECT_EQ(jar.take().octets, std::vector<std::uint8_t>{2});
  EXPECT_EQ(jar.take().print, 99U);
  EXPECT_TRUE(jar.empty());
  for (std::uint8_t i = 0; i < 20; ++i) jar.put(std::vector{i}, i);
  EXPECT_EQ(jar.room(), 0U);
  for (std::uint8_t i = 0; i < 8; ++i) EXPECT_EQ(jar.take().octets, std::vector{i});
  EXPECT_TRUE(jar.empty());
}

TEST(CookieJar, ReusedOnesGoRound) {
  CookieJar jar(Jar{{1}, {2}, {3}}, true);
  for (std::uint8_t i = 0; i < 9; ++i) {
    EXPECT_EQ(jar.take().octets, std::vector<std::uint8_t>{static_cast<std::uint8_t>(i % 3 + 1)});
  }
}

// What was seen.

std::array<std::uint8_t, 20> octets(std::uint64_t number) {
  std::array<std::uint8_t, 20> out{};
  store_be64(out.data() + 12, number);
  return out;
}

std::uint64_t print(std::uint64_t number) {
  return RecentlySeen::fingerprint(octets(number), 0);
}

TEST(RecentlySeen, EveryStringIsNewOnceAndThenKnown) {
  RecentlySeen seen(16);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    ASSERT_FALSE(seen.again(print(i))) << i;
    ASSERT_TRUE(seen.again(print(i))) << i;
  }
}

TEST(RecentlySeen, MostOfTheLastOnesAreRemembered) {
  RecentlySeen seen(12);
  for (std::uint64_t i = 0; i < 1024; ++i) seen.again(print(i));
  int known = 0;
  for (std::uint64_t i = 1024; i-- > 0;) known += seen.again(print(i));
  EXPECT_GT(known, 800);
}

TEST(RecentlySeen, ScopeLengthAndEveryOctetCount) {
  auto string = octets(7);
  std::set<std::uint64_t> prints = {RecentlySeen::fingerprint(string, 1),
                                    RecentlySeen::fingerprint(string, 2),
                                    RecentlySeen::fingerprint(Bytes(string).first(19), 1)};
  for (std::uint8_t& octet : string) {
    octet ^= 0x80;
    prints.insert(RecentlySeen::fingerprint(string, 1));
    octet ^= 0x80;
  }
  EXPECT_EQ(prints.size(), 23U);
  EXPECT_TRUE(prints.contains(RecentlySeen::fingerprint(string, 1)));
}

// Verification.

int verified(VerifySampler& sampler, int replies) {
  int count = 0;
  for (int i = 0; i < replies; ++i) count += sampler.take();
  return count;
}

TEST(VerifySampler, TakesAllUpToItsRate) {
  VerifySampler sampler({.all_up_to = 100'000, .then_one_in = 16});
  sampler.advance(kStart);
  EXPECT_EQ(verified(sampler, 64), 64);  // a first batch too
  for (int i = 1; i <= 1000; ++i) {
    sampler.advance(kStart + i * 1ms);
    ASSERT_EQ(verified(sampler, 100), 100);
  }
}

TEST(VerifySampler, ALullIsMadeUpForWithinASecond) {
  VerifySampler sampler({.all_up_to = 100'000, .then_one_in = 16});
  sampler.advance(kStart);
  EXPECT_LT(verified(sampler, 50'000), 5000);
  sampler.advance(kStart + 500ms);
  EXPECT_EQ(verified(sampler, 50'000), 50'000);
  sampler.advance(kStart + 1h);
  EXPECT_NEAR(verified(sampler, 200'000), 100'000 + 100'000 / 16, 100);
}

TEST(VerifySampler, TakesASampleOfWhatIsBeyond) {
  VerifySampler sampler({.all_up_to = 100'000, .then_one_in = 16});
  int count = 0;
  for (int i = 0; i < 1000; ++i) {
    sampler.advance(kStart + i * 1ms);
    count += verified(sampler, 1000);
  }
  EXPECT_NEAR(count, 100'000 + 900'000 / 16, 2000);
}

TEST(VerifySampler, NoneButTheSample) {
  VerifySampler sampler({.all_up_to = 0, .then_one_in = 10});
  sampler.advance(kStart);
  EXPECT_NEAR(verified(sampler, 100'000), 10'000, 64);
}

// The echo.

TEST(Echo, AnswersAsTheLeastNtpServer) {
  std::array<std::uint8_t, 60> request{};
  ntp::Header asked;
  asked.transmit = NtpTimestamp{0x0123456789abcdef};
  ntp::write_header(asked, request);
  std::array<std::uint8_t, 60> room{};
  net::Datagram datagram;
  datagram.request = request;
  datagram.reply_room = room;
  datagram.receive_time = KernelTime{1'800'000'000'500'000'000};
  answer_as_ntp(datagram);
  EXPECT_EQ(datagram.reply_length, request.size());
  const auto reply = ntp::parse_header(room);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->mode, ntp::Mode::kServer);
  EXPECT_EQ(reply->stratum, 1);
  EXPECT_EQ(reply->leap, LeapIndicator::kNone);
  EXPECT_EQ(reply->origin, asked.transmit);
  EXPECT_EQ(reply->receive, NtpTimestamp::from_utc(UtcTime{datagram.receive_time.ns}));
  EXPECT_EQ(reply->transmit, reply->receive);
}

TEST(Echo, LeavesWhatIsShorterThanAHeader) {
  std::array<std::uint8_t, ntp::kHeaderLength - 1> request{};
  std::array<std::uint8_t, ntp::kHeaderLength - 1> room{};
  net::Datagram datagram;
  datagram.request = request;
  datagram.reply_room = room;
  answer_as_ntp(datagram);
  EXPECT_EQ(datagram.reply_length, 0U);
}

}  // namespace
}  // namespace timeball::bench
