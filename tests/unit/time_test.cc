#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "common/time/clock_state.h"
#include "common/time/ntp_timestamp.h"

namespace timeball {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kEra1UnixSeconds = 2'085'978'496;  // 2036-02-07T06:28:16Z
constexpr UtcTime kEra1{kEra1UnixSeconds * kNsPerSecond};

constexpr NtpTimestamp timestamp(std::uint32_t seconds, std::uint32_t fraction) {
  return {(std::uint64_t{seconds} << 32) | fraction};
}

TEST(NtpTimestamp, UnixEpochIs2208988800) {
  EXPECT_EQ(NtpTimestamp::from_utc(UtcTime{0}), timestamp(2'208'988'800U, 0));
}

TEST(NtpTimestamp, NtpEpochIsZero) {
  EXPECT_EQ(NtpTimestamp::from_utc(UtcTime{-kNtpToUnixSeconds * kNsPerSecond}), timestamp(0, 0));
}

TEST(NtpTimestamp, HalfASecondIsTheTopBitOfTheFraction) {
  EXPECT_EQ(NtpTimestamp::from_utc(UtcTime{500'000'000}), timestamp(2'208'988'800U, 1U << 31));
}

TEST(NtpTimestamp, RoundsDownToItsResolution) {
  // 1 ns is 4.29 units; 999,999,999 ns is 4294967291.7 units.
  EXPECT_EQ(NtpTimestamp::from_utc(UtcTime{1}), timestamp(2'208'988'800U, 4));
  EXPECT_EQ(NtpTimestamp::from_utc(UtcTime{999'999'999}), timestamp(2'208'988'800U, 4294967291U));
}

TEST(NtpTimestamp, NegativeTimesRoundDownToo) {
  EXPECT_EQ(NtpTimestamp::from_utc(UtcTime{-1}), timestamp(2'208'988'799U, 4294967291U));
  EXPECT_EQ(NtpTimestamp::from_utc(UtcTime{-kNsPerSecond}), timestamp(2'208'988'799U, 0));
  EXPECT_EQ(NtpTimestamp::from_utc(UtcTime{-1'500'000'000}), timestamp(2'208'988'798U, 1U << 31));
}

TEST(NtpTimestamp, Era1StartsAtZeroIn2036) {
  EXPECT_EQ(NtpTimestamp::from_utc(kEra1), timestamp(0, 0));
  EXPECT_EQ(NtpTimestamp::from_utc(kEra1 - 1s), timestamp(0xffff'ffffU, 0));
  EXPECT_EQ(NtpTimestamp::from_utc(kEra1 + 1s), timestamp(1, 0));
}

TEST(NtpTimestamp, DifferenceIsExactAcrossTheEraBoundary) {
  const auto before = NtpTimestamp::from_utc(kEra1 - 1500ms);
  const auto after = NtpTimestamp::from_utc(kEra1 + 250ms);
  EXPECT_EQ(NtpTimestamp::difference(after, before), 1750ms);
  EXPECT_EQ(NtpTimestamp::difference(before, after), -1750ms);
}

TEST(NtpTimestamp, DifferenceOfATieRoundsAlikeInBothDirections) {
  const NtpTimestamp zero{0};
  const NtpTimestamp tie{1U << 22};  // 976,562.5 ns
  EXPECT_EQ(NtpTimestamp::difference(tie, zero), 976'563ns);
  EXPECT_EQ(NtpTimestamp::difference(zero, tie), -976'563ns);
}

TEST(NtpTimestamp, DifferenceIsAntisymmetric) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const NtpTimestamp a{random()};
    const NtpTimestamp b{a.bits + (random() >> (random() % 64))};
    if (a.bits - b.bits == std::uint64_t{1} << 63) continue;  // as far either way
    ASSERT_EQ(NtpTimestamp::difference(a, b), -NtpTimestamp::difference(b, a))
        << a.bits << " " << b.bits;
  }
}

TEST(NtpTimestamp, DifferenceTakesTheShorterWayRound) {
  EXPECT_EQ(NtpTimestamp::difference({0x7fff'ffff'0000'0000U}, {0}), 0x7fff'ffffLL * 1s);
  EXPECT_EQ(NtpTimestamp::difference({0x8000'0001'0000'0000U}, {0}), -0x7fff'ffffLL * 1s);
  EXPECT_EQ(NtpTimestamp::difference({0x8000'0000'0000'0000U}, {0}), -0x8000'0000LL * 1s);
}

TEST(NtpTimestamp, EveryNanosecondSurvivesTheRoundTrip) {
  std::mt19937_64 random(2);
  const UtcTime pivots[] = {UtcTime{0}, kEra1, kEra1 - 1ns, kEra1 + 3'600s * 24 * 365 * 60};
  for (const UtcTime pivot : pivots) {
    for (int i = 0; i < 20'000; ++i) {
      const auto away = static_cast<std::int64_t>(random()) >> (4 + random() % 56);
      const UtcTime t = pivot + Duration(away);
      ASSERT_EQ(NtpTimestamp::from_utc(t).utc_near(pivot), t) << pivot.ns << " " << away;
    }
  }
}

TEST(NtpTimestamp, UtcNearChoosesTheEraOfItsPivot) {
  const NtpTimestamp zero{0};
  EXPECT_EQ(zero.utc_near(kEra1 - 10s * 365 * 86'400), kEra1);
  EXPECT_EQ(zero.utc_near(UtcTime{-60 * 365 * 86'400 * kNsPerSecond}),
            UtcTime{-kNtpToUnixSeconds * kNsPerSecond});
}

// Four timestamps of an exchange, each so long after `base`.
ClockSample sample(UtcTime base, Duration t1, Duration t2, Duration t3, Duration t4) {
  const auto at = [base](Duration d) { return NtpTimestamp::from_utc(base + d); };
  return clock_sample(at(t1), at(t2), at(t3), at(t4));
}

TEST(ClockSample, SplitsOffsetFromDelay) {
  // The server is 5 ms ahead; 3 ms there, 1 ms within, 3 ms back.
  const ClockSample s = sample(UtcTime{1'700'000'000 * kNsPerSecond}, 0ms, 8ms, 9ms, 7ms);
  EXPECT_NEAR(static_cast<double>(s.offset.count()), 5e6, 2);
  EXPECT_NEAR(static_cast<double>(s.delay.count()), 6e6, 2);
}

TEST(ClockSample, SpansTheEndOfEra0) {
  const ClockSample s = sample(kEra1 - 1s, 0s, 2s, 2s, 0s);
  EXPECT_EQ(s.offset, 2s);
  EXPECT_EQ(s.delay, 0s);
}

TEST(ClockSample, ClientAt1970DoesNotOverflow) {
  constexpr auto kDecades = std::chrono::seconds(1'700'000'000);
  const ClockSample s = sample(UtcTime{0}, 0s, kDecades, kDecades, 0s);
  EXPECT_EQ(s.offset, kDecades);
  EXPECT_EQ(s.delay, 0s);
}

TEST(NtpShort, RoundsUpNeverDown) {
  EXPECT_EQ(NtpShort::round_up(0ns).bits, 0U);
  EXPECT_EQ(NtpShort::round_up(1ns).bits, 1U);
  EXPECT_EQ(NtpShort::round_up(15'258ns).bits, 1U);  // 2^-16 s is 15258.79 ns
  EXPECT_EQ(NtpShort::round_up(15'259ns).bits, 2U);
  EXPECT_EQ(NtpShort::round_up(1s).bits, 1U << 16);
  EXPECT_EQ(NtpShort::round_up(1s + 1ns).bits, (1U << 16) + 1);
}

TEST(NtpShort, NegativeIsZero) {
  EXPECT_EQ(NtpShort::round_up(-1ns).bits, 0U);
  EXPECT_EQ(NtpShort::round_up(Duration::min()).bits, 0U);
}

TEST(NtpShort, Saturates) {
  EXPECT_EQ(NtpShort::round_up(65'535s).bits, 0xffff'0000U);
  EXPECT_EQ(NtpShort::round_up(65'536s - 1ns).bits, 0xffff'ffffU);
  EXPECT_EQ(NtpShort::round_up(65'536s).bits, 0xffff'ffffU);
  EXPECT_EQ(NtpShort::round_up(Duration::max()).bits, 0xffff'ffffU);
}

TEST(NtpShort, PromisesAtLeastWhatWasPutIn) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 100'000; ++i) {
    const Duration d(static_cast<std::int64_t>(random() % 65'535'000'000'000U));
    const NtpShort s = NtpShort::round_up(d);
    ASSERT_GE(s.duration(), d);
    ASSERT_LE(s.duration() - d, 15'260ns);
  }
}

ClockState clock_state() {
  ClockState clock;
  clock.as_of = KernelTime{1'000 * kNsPerSecond};
  clock.error_bound = 1us;
  clock.growth_ppb = 15'000;
  return clock;
}

TEST(ClockState, TheRateMovesTheOffsetBothWays) {
  ClockState clock = clock_state();
  clock.offset = 5s;
  clock.rate = -((std::int64_t{1} << ClockState::kRateBits) / 10'000);  // -100 ppm
  EXPECT_EQ(clock.utc(clock.as_of), UtcTime{1'005 * kNsPerSecond});
  const auto moved = [&](Duration d) {
    return clock.utc(clock.as_of + d) - clock.utc(clock.as_of);
  };
  EXPECT_NEAR(static_cast<double>(moved(1s).count()), 999'900'000, 1);
  EXPECT_NEAR(static_cast<double>(moved(-1s).count()), -999'900'000, 1);
  // Years fit: a reference time may be long ago.
  EXPECT_NEAR(static_cast<double>(moved(-100'000'000s).count()), -99'990'000e9, 1e6);
}

TEST(ClockState, NothingIsPromisedBeyondItsEnd) {
  ClockState clock = clock_state();
  EXPECT_LT(clock.root_dispersion(clock.as_of + 86'400s), 2s);
  clock.void_after = clock.as_of + 4s;
  EXPECT_LT(clock.root_dispersion(clock.as_of + 4s), 1ms);
  EXPECT_EQ(NtpShort::round_up(clock.root_dispersion(clock.as_of + 4s + 1ns)).bits, 0xffff'ffffU);
}

TEST(ClockState, RootDispersionIsTheBoundWhenFresh) {
  EXPECT_EQ(clock_state().root_dispersion(clock_state().as_of), 1us);
}

TEST(ClockState, RootDispersionGrowsWithAge) {
  const ClockState clock = clock_state();
  EXPECT_EQ(clock.root_dispersion(clock.as_of + 1s), 1us + 15us);
  EXPECT_EQ(clock.root_dispersion(clock.as_of + 86'400s), 1us + 15us * 86'400);
}

TEST(ClockState, RootDispersionRoundsUp) {
  const ClockState clock = clock_state();
  EXPECT_EQ(clock.root_dispersion(clock.as_of + 1ns), 1us + 1ns);
  EXPECT_EQ(clock.root_dispersion(clock.as_of + 1s + 1ns), 1us + 15us + 1ns);
}

TEST(ClockState, RootDispersionGrowsIntoThePastToo) {
  const ClockState clock = clock_state();
  EXPECT_EQ(clock.root_dispersion(clock.as_of - 2s), 1us + 30us);
}

TEST(ClockState, RootDispersionWithoutGrowthStays) {
  ClockState clock = clock_state();
  clock.growth_ppb = 0;
  EXPECT_EQ(clock.root_dispersion(clock.as_of + 1'000'000s), 1us);
}

TEST(ClockState, RootDispersionOfAnAncientStateStillSaturatesOnTheWire) {
  ClockState clock = clock_state();
  clock.as_of = KernelTime{0};
  clock.growth_ppb = 500'000'000;
  const KernelTime late{std::numeric_limits<std::int64_t>::max()};
  EXPECT_EQ(NtpShort::round_up(clock.root_dispersion(late)).bits, 0xffff'ffffU);
}

TEST(ClockState, UtcAddsTheOffset) {
  ClockState clock = clock_state();
  clock.offset = -37s;
  EXPECT_EQ(clock.utc(KernelTime{100 * kNsPerSecond}), UtcTime{63 * kNsPerSecond});
}

TEST(ClockState, SynchronisedNeedsStratumAndLeap) {
  ClockState clock;
  EXPECT_FALSE(clock.synchronised());
  clock.stratum = 1;
  EXPECT_FALSE(clock.synchronised());
  clock.leap = LeapIndicator::kNone;
  EXPECT_TRUE(clock.synchronised());
  clock.stratum = kMaxStratum;
  EXPECT_FALSE(clock.synchronised());
}

}  // namespace
}  // namespace timeball
