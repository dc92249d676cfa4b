#include <gtest/gtest.h>

#include <string>

#include "refclock/leap_seconds.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;

// What IERS published in 2025, comments cut.
constexpr std::string_view kFile = R"(#	a comment
#$	3960835200
#@	3991593600
2272060800      10      # 1 Jan 1972
2287785600      11      # 1 Jul 1972
2303683200      12      # 1 Jan 1973
2335219200      13      # 1 Jan 1974
2366755200      14      # 1 Jan 1975
2398291200      15      # 1 Jan 1976
2429913600      16      # 1 Jan 1977
2461449600      17      # 1 Jan 1978
2492985600      18      # 1 Jan 1979
2524521600      19      # 1 Jan 1980
2571782400      20      # 1 Jul 1981
2603318400      21      # 1 Jul 1982
2634854400      22      # 1 Jul 1983
2698012800      23      # 1 Jul 1985
2776982400      24      # 1 Jan 1988
2840140800      25      # 1 Jan 1990
2871676800      26      # 1 Jan 1991
2918937600      27      # 1 Jul 1992
2950473600      28      # 1 Jul 1993
2982009600      29      # 1 Jul 1994
3029443200      30      # 1 Jan 1996
3076704000      31      # 1 Jul 1997
3124137600      32      # 1 Jan 1999
3345062400      33      # 1 Jan 2006
3439756800      34      # 1 Jan 2009
3550089600      35      # 1 Jul 2012
3644697600      36      # 1 Jul 2015
3692217600      37      # 1 Jan 2017
#h	49db2447 571e5e1b 2f002a53 9c8da8e4 39b8e49e
)";

constexpr UtcTime utc(std::int64_t unix_s) {
  return {unix_s * kNsPerSecond};
}
constexpr std::int64_t kExpires = 3'991'593'600 - kNtpToUnixSeconds;
constexpr std::int64_t k2017 = 1'483'228'800;

std::string with(std::string_view from, std::string_view to) {
  std::string text(kFile);
  text.replace(text.find(from), from.size(), to);
  return text;
}

TEST(LeapTable, ReadsAndVerifiesTheFileThatIersPublishes) {
  const auto table = parse_leap_seconds(kFile);
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(table->entries.size(), 28U);
  EXPECT_EQ(table->entries.back().tai_minus_utc_s, 37);
  EXPECT_EQ(table->entries.back().from, utc(k2017));
  EXPECT_EQ(table->expires, utc(kExpires));
}

TEST(LeapTable, RefusesEveryKindOfDamageInOneLine) {
  const std::pair<std::string, std::string_view> rows[] = {
      {with("2017", "2018"), ""},  // a comment: not in the hash
      {with("3692217600      37", "3692217600      38"), "a change of other than one second"},
      {with("3692217600", "3692217601"), "hash (#h) does not fit"},
      {with("#@	3991593600", "#@	3991593601"), "hash (#h) does not fit"},
      {with("#@	3991593600\n", ""), "not a leap-seconds.list"},
      {with("#$	3960835200", "#$	x"), "line 2: no NTP time"},
      {with("#h	49db2447", "#h	4gdb2447"), "not hexadecimal"},
      {with(" 39b8e49e", ""), "not five words"},
      {with("49db2447 571e5e1b 2f002a53 9c8da8e4 39b8e49e", "1 2 3 4 5"), "does not fit"},
      {std::string(kFile.substr(0, kFile.find("#h"))), "no hash"},
      {with("3644697600      36", "3044697600      36"), "not later"},
      {with("3692217600      37", "3692217600 37 1"), "not \"NTP-seconds"},
      {with("3692217600", "99999999999999999999"), "not \"NTP-seconds"},
      {std::string(kFile) + std::string(kFile), "a second"},
      {"", "not a leap-seconds.list"},
      {"<html>", "line 1"},
  };
  for (const auto& [text, why] : rows) {
    const auto table = parse_leap_seconds(text);
    EXPECT_EQ(table.has_value(), why.empty()) << why;
    if (table || why.empty()) continue;
    EXPECT_NE(table.error().message.find(why), std::string::npos) << table.error().message;
    EXPECT_EQ(table.error().message.find('\n'), std::string::npos);
  }
}

TEST(LeapTable, SaysWhatIsInForceAndWhatComes) {
  const LeapTable table = *parse_leap_seconds(kFile);
  const LeapNotice before = leap_notice(table, utc(k2017 - 1));
  EXPECT_TRUE(before.trusted);
  EXPECT_EQ(before.tai_minus_utc_s, 36);
  EXPECT_EQ(before.change, LeapIndicator::kInsert);
  EXPECT_EQ(before.event, utc(k2017));
  const LeapNotice after = leap_notice(table, utc(k2017));
  EXPECT_EQ(after.tai_minus_utc_s, 37);
  EXPECT_EQ(after.change, LeapIndicator::kNone);
}

TEST(LeapTable, ExpiredItKeepsTheOffsetAndIsNotTrusted) {
  const LeapTable table = *parse_leap_seconds(kFile);
  EXPECT_TRUE(leap_notice(table, utc(kExpires - 1)).trusted);
  const LeapNotice expired = leap_notice(table, utc(kExpires));
  EXPECT_FALSE(expired.trusted);
  EXPECT_EQ(expired.tai_minus_utc_s, 37);
}

constexpr UtcTime kEvent = utc(1'814'400'000);

LeapNotice notice(LeapNotice::Source source, LeapIndicator change, bool trusted = true,
                  UtcTime event = kEvent) {
  LeapNotice n;
  n.source = source;
  n.trusted = trusted;
  n.tai_minus_utc_s = 37;
  n.change = change;
  n.event = event;
  return n;
}
constexpr auto kFileSource = LeapNotice::Source::kFile;
constexpr auto kReceiver = LeapNotice::Source::kReceiver;

TEST(LeapSeconds, TwoSourcesThatAgreeAnnounceOnTheLastDay) {
  LeapSeconds leaps;
  EXPECT_TRUE(leaps.unknown());
  leaps.hear(notice(kFileSource, LeapIndicator::kInsert));
  EXPECT_FALSE(leaps.unknown());
  EXPECT_EQ(leaps.indicator(kEvent - 1h), LeapIndicator::kNone);
  leaps.hear(notice(kReceiver, LeapIndicator::kInsert));
  EXPECT_EQ(leaps.indicator(kEvent - 24h - 1ns), LeapIndicator::kNone);
  EXPECT_EQ(leaps.indicator(kEvent - 24h), LeapIndicator::kInsert);
  EXPECT_EQ(leaps.indicator(kEvent - 1ns), LeapIndicator::kInsert);
  EXPECT_EQ(leaps.indicator(kEvent), LeapIndicator::kNone);
  EXPECT_EQ(leaps.agreed(), (LeapEvent{kEvent, 1}));
  EXPECT_EQ(leaps.claimed(), std::nullopt);
  EXPECT_FALSE(leaps.disagree(kEvent - 1h));
}

TEST(LeapSeconds, OneSourceOnlyClaims) {
  for (const auto source : {kFileSource, kReceiver}) {
    LeapSeconds leaps;
    leaps.hear(notice(source, LeapIndicator::kDelete));
    EXPECT_EQ(leaps.indicator(kEvent - 1h), LeapIndicator::kNone);
    EXPECT_EQ(leaps.agreed(), std::nullopt);
    EXPECT_EQ(leaps.claimed(), (LeapEvent{kEvent, -1}));
  }
}

TEST(LeapSeconds, AnUntrustedSourceAnnouncesNothing) {
  LeapSeconds leaps;
  leaps.hear(notice(kFileSource, LeapIndicator::kInsert, false));
  leaps.hear(notice(kReceiver, LeapIndicator::kInsert));
  EXPECT_EQ(leaps.agreed(), std::nullopt);
  EXPECT_EQ(leaps.indicator(kEvent - 1h), LeapIndicator::kNone);
  leaps.hear(notice(kReceiver, LeapIndicator::kInsert, false));
  EXPECT_TRUE(leaps.unknown());
  EXPECT_EQ(leaps.claimed(), std::nullopt);
}

TEST(LeapSeconds, ContradictionsAreSeen) {
  LeapSeconds leaps;
  leaps.hear(notice(kFileSource, LeapIndicator::kInsert));
  leaps.hear(notice(kReceiver, LeapIndicator::kDelete));
  EXPECT_TRUE(leaps.disagree(kEvent - 1h));
  EXPECT_EQ(leaps.indicator(kEvent - 1h), LeapIndicator::kNone);
  leaps.hear(notice(kReceiver, LeapIndicator::kNone));
  EXPECT_TRUE(leaps.disagree(kEvent - 1h));
  EXPECT_FALSE(leaps.disagree(kEvent - 48h));  // a receiver hears of it later than the file
  LeapNotice other = notice(kReceiver, LeapIndicator::kNone);
  other.tai_minus_utc_s = 36;
  leaps.hear(other);
  EXPECT_TRUE(leaps.disagree(kEvent - 48h));
}

TEST(LeapSeconds, WhatHasPassedIsForgotten) {
  LeapSeconds leaps;
  leaps.hear(notice(kFileSource, LeapIndicator::kInsert));
  leaps.hear(notice(kReceiver, LeapIndicator::kInsert));
  leaps.passed({kEvent, 1});
  EXPECT_EQ(leaps.agreed(), std::nullopt);
  EXPECT_EQ(leaps.claimed(), std::nullopt);
  EXPECT_FALSE(leaps.disagree(kEvent));
}

}  // namespace
}  // namespace timeball::refclock
