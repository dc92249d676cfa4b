// What a cluster's members share: the document, and what a member makes of it.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "common/base/hex.h"
#include "server/cluster_document.h"
#include "server/cluster_member.h"
#include "server/etcd_client.h"

namespace timeball::server {
namespace {

using std::chrono::hours;
using Taken = ClusterMember::Taken;

// Octets that count, so that no two keys are the same.
EntropySource counting() {
  return [n = std::uint8_t{0}](MutableBytes out) mutable -> Result<void> {
    for (std::uint8_t& octet : out) octet = ++n;
    return {};
  };
}

EntropySource broken() {
  return [](MutableBytes) -> Result<void> { return fail("no randomness"); };
}

ClusterKeys cluster_keys(std::string_view digits) {
  std::string text;
  for (const char digit : digits) text += std::string(64, digit) + '\n';
  return *parse_cluster_keys(text);
}

KernelTime second(std::int64_t s) {
  return {s * 1'000'000'000};
}
MonotonicTime uptime(std::chrono::seconds s) {
  return {std::chrono::nanoseconds(s).count()};
}

constexpr std::int64_t kNow = 1'800'000'000;
const MonotonicTime kUp = uptime(hours(100));

ClusterMember member(std::string_view digits = "a", std::string name = "lab") {
  return ClusterMember({std::move(name), hours(24), 2}, cluster_keys(digits));
}

// A member that has the cluster's first keys.
ClusterMember begun() {
  ClusterMember m = member();
  EXPECT_EQ(m.take(*m.rotated(counting(), second(kNow)), kUp, second(kNow)), Taken::kNew);
  return m;
}

// ---- Cluster keys.

TEST(ClusterKeys, AreReadLineByLineAndTheFirstComesFirst) {
  const auto keys = cluster_keys("ab");
  ASSERT_EQ(keys.size(), 2);
  EXPECT_EQ(keys[0].secret.bytes()[0], 0xaa);
  EXPECT_EQ(keys[1].secret.bytes()[31], 0xbb);
  EXPECT_NE(keys[0].id, keys[1].id);
  EXPECT_EQ(keys[0].id.size(), 8);
  EXPECT_EQ(parse_cluster_keys(std::string(64, 'c')).value()[0].id, cluster_keys("c")[0].id);
}

TEST(ClusterKeys, RefuseWhatIsNoneWithAWordOnHowToMakeOne) {
  for (const std::string& text :
       {std::string(), std::string("\n\n"), std::string(63, 'a'), std::string(65, 'a'),
        std::string(64, 'A'), std::string(64, 'a') + "\nb\n"}) {
    const auto keys = parse_cluster_keys(text);
    ASSERT_FALSE(keys) << text;
    EXPECT_NE(keys.error().message.find("openssl rand -hex 32"), std::string::npos);
  }
}

// ---- The document.

ClusterDocument document(std::uint64_t sequence) {
  return {sequence, {kNow, *fresh_ring(0x1000, counting())}};
}

TEST(ClusterDocument, ComesBackAsItWasAndShowsNoKey) {
  const auto keys = cluster_keys("a");
  const std::string text = *seal_document(document(7), "lab", keys[0], counting());
  const auto opened = open_document(text, "lab", keys);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->sequence, 7);
  EXPECT_EQ(opened->keys.rotated_s, kNow);
  EXPECT_EQ(opened->keys.ring.generations(), document(7).keys.ring.generations());
  std::string secret;
  append_hex(secret, document(7).keys.ring.current().key.bytes());
  EXPECT_EQ(text.find(secret), std::string::npos);
  EXPECT_EQ(text.find("00001000"), std::string::npos);
}

TEST(ClusterDocument, IsRefusedWhenOneCharacterDiffers) {
  const auto keys = cluster_keys("a");
  const std::string text = *seal_document(document(7), "lab", keys[0], counting());
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const int flip : {1, 2, 4}) {
      std::string changed = text;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      const auto opened = open_document(changed, "lab", keys);
      ASSERT_FALSE(opened) << "at " << i;
      EXPECT_FALSE(opened.error().message.empty());
    }
    EXPECT_FALSE(open_document(text.substr(0, i), "lab", keys)) << i;
  }
  EXPECT_FALSE(open_document(text + '\n', "lab", keys));
}

TEST(ClusterDocument, IsBoundToItsClusterItsSequenceAndItsKey) {
  const auto keys = cluster_keys("ab");
  const std::string text = *seal_document(document(7), "lab", keys[0], counting());
  EXPECT_FALSE(open_document(text, "other", keys));
  EXPECT_FALSE(open_document(text, "lab", cluster_keys("b")));
  EXPECT_TRUE(open_document(text, "lab", cluster_keys("ba")));
  std::string renamed = text;
  renamed.replace(renamed.find("cluster lab"), 11, "cluster abc");
  EXPECT_FALSE(open_document(renamed, "abc", keys));
  std::string renumbered = text;
  renumbered.replace(renumbered.find("sequence 7"), 10, "sequence 8");
  EXPECT_FALSE(open_document(renumbered, "lab", keys));
}

TEST(ClusterDocument, NeedsRandomness) {
  EXPECT_FALSE(seal_document(document(1), "lab", cluster_keys("a")[0], broken()));
}

// ---- A member.

TEST(ClusterMember, BeginsWithNothing) {
  EXPECT_TRUE(member().empty());
  EXPECT_EQ(member().sequence(), 0);
}

TEST(ClusterMember, UsesNothingBeforeItHasItBack) {
  ClusterMember m = begun();
  const std::uint32_t current = m.ring().current().id;
  ASSERT_TRUE(m.rotated(counting(), second(kNow)));
  EXPECT_EQ(m.ring().current().id, current);
  EXPECT_EQ(m.sequence(), 1);
}

TEST(ClusterMember, RotatesFromTheNextKeyThatAllKnowAndForgetsTheOldest) {
  ClusterMember one = begun();
  ClusterMember other = member();
  ASSERT_EQ(other.take(one.document(), kUp, second(kNow)), Taken::kNew);
  for (int i = 0; i < 6; ++i) {
    const std::uint32_t next = one.ring().next().id;
    const std::string document = *one.rotated(counting(), second(kNow));
    EXPECT_NE(other.ring().find(next), nullptr) << "it becomes current: all must know it already";
    ASSERT_EQ(one.take(document, kUp, second(kNow)), Taken::kNew);
    ASSERT_EQ(other.take(document, kUp, second(kNow)), Taken::kNew);
    EXPECT_EQ(one.ring().current().id, next);
  }
  EXPECT_EQ(one.ring().generations().size(), 4);  // next, current, keep = 2
  EXPECT_EQ(one.ring().generations(), other.ring().generations());
  EXPECT_EQ(one.take(one.document(), kUp, second(kNow)), Taken::kSame);
}

TEST(ClusterMember, RekeyLeavesNoGenerationAndNoIdentifierOfBefore) {
  ClusterMember m = begun();
  std::set<std::uint32_t> before;
  for (const auto& key : m.ring().generations()) before.insert(key.id);
  const std::uint32_t newest = m.ring().next().id;
  ASSERT_EQ(m.take(*m.rekeyed(counting(), second(kNow)), kUp, second(kNow)), Taken::kNew);
  ASSERT_EQ(m.ring().generations().size(), 2);
  for (const auto& key : m.ring().generations()) EXPECT_EQ(before.count(key.id), 0);
  EXPECT_EQ(m.ring().current().id, newest + 1);
}

TEST(ClusterMember, TakesNoOldStatePutBackAndPutsItsOwnAboveIt) {
  ClusterMember m = begun();
  const std::string old = m.document();
  ASSERT_EQ(m.take(*m.rotated(counting(), second(kNow)), kUp, second(kNow)), Taken::kNew);
  const auto ring = m.ring().generations();
  EXPECT_EQ(m.take(old, kUp, second(kNow)), Taken::kOlder);
  EXPECT_EQ(m.ring().generations(), ring);
  // A member that began from the old state follows.
  ClusterMember fresh = member();
  ASSERT_EQ(fresh.take(old, kUp, second(kNow)), Taken::kNew);
  ASSERT_EQ(fresh.take(*m.again(counting()), kUp, second(kNow)), Taken::kNew);
  EXPECT_EQ(fresh.ring().generations(), ring);
}

TEST(ClusterMember, TwoThatForkedMeetAtTheHigherSequence) {
  ClusterMember one = begun();
  ClusterMember other = member();
  ASSERT_EQ(other.take(one.document(), kUp, second(kNow)), Taken::kNew);
  ASSERT_EQ(one.take(*one.rekeyed(counting(), second(kNow)), kUp, second(kNow)), Taken::kNew);
  ASSERT_EQ(other.take(*other.rotated(counting(), second(kNow)), kUp, second(kNow)), Taken::kNew);
  EXPECT_EQ(other.take(one.document(), kUp, second(kNow)), Taken::kOlder);
  ASSERT_EQ(one.take(*other.again(counting()), kUp, second(kNow)), Taken::kNew);
  EXPECT_EQ(one.ring().generations(), other.ring().generations());
}

TEST(ClusterMember, LeavesAloneWhatItCannotOpenUntilItHasTheKey) {
  ClusterMember m = begun();
  ClusterMember moved = member("ba");
  ASSERT_EQ(moved.take(m.document(), kUp, second(kNow)), Taken::kNew);
  const std::string document = *moved.rotated(counting(), second(kNow));
  EXPECT_EQ(m.take(document, kUp, second(kNow)), Taken::kUnreadable);
  EXPECT_NE(m.refusal().find("not held here"), std::string::npos);
  EXPECT_EQ(m.sequence(), 1);
  m.use(cluster_keys("ab"));
  EXPECT_EQ(m.take(document, kUp, second(kNow)), Taken::kNew);
  EXPECT_TRUE(m.refusal().empty());
  EXPECT_EQ(m.take("garbage", kUp, second(kNow)), Taken::kUnreadable);
  EXPECT_EQ(m.sequence(), 2);
}

TEST(ClusterMember, AWrongClockCostsOneRotationAtMost) {
  ClusterMember m = begun();
  EXPECT_EQ(m.next_rotation(), kUp + hours(24));
  const auto rotation_seen_at = [&](std::int64_t wall_s) {
    ClusterMember late = member();
    EXPECT_EQ(late.take(m.document(), kUp, second(wall_s)), Taken::kNew);
    return late.next_rotation();
  };
  EXPECT_EQ(rotation_seen_at(kNow + 3600), kUp + hours(23));
  EXPECT_EQ(rotation_seen_at(0), kUp + hours(24));         // it boots in 1970
  EXPECT_EQ(rotation_seen_at(kNow + 3'000'000'000), kUp);  // or in another century
}

TEST(ClusterMember, ChangesNothingWithoutRandomness) {
  ClusterMember m = begun();
  EXPECT_FALSE(m.rotated(broken(), second(kNow)));
  EXPECT_FALSE(m.rekeyed(broken(), second(kNow)));
  EXPECT_FALSE(m.again(broken()));
  EXPECT_FALSE(member().rotated(broken(), second(kNow)));
}

// ---- A ring without news.

TEST(KeyRing, OnlyOneThatIsCutOffMayLackNewerKeys) {
  const nts::KeyRing ring = *fresh_ring(0xffff'fffe, counting());  // next: 0xffffffff
  const nts::KeyRing alone = ring.cut_off();
  EXPECT_EQ(alone.generations(), ring.generations());
  for (const std::uint32_t newer : {0u, 5u, 0x1000u}) {
    EXPECT_FALSE(ring.may_lack(newer));
    EXPECT_TRUE(alone.may_lack(newer)) << "identifiers wrap";
  }
  for (const std::uint32_t older : {0xffff'fffdu, 0xffff'0000u})
    EXPECT_FALSE(alone.may_lack(older));
}

// ---- The gateway's notation.

TEST(EtcdClient, WritesAndReadsBase64) {
  for (const std::string& octets : {std::string(), std::string("a"), std::string("ab"),
                                    std::string("abc"), std::string("\0\xff\0\0", 4)}) {
    EXPECT_EQ(from_base64(base64(octets)), octets);
  }
  EXPECT_EQ(base64("/timeball"), "L3RpbWViYWxs");
  EXPECT_EQ(from_base64("L3R"), std::nullopt);
  EXPECT_EQ(from_base64("L3R!"), std::nullopt);
}

TEST(EtcdClient, ReadsNumbersWrittenAsText) {
  const boost::json::object object{{"a", "9223372036854775807"}, {"b", 5}, {"c", "x"}};
  EXPECT_EQ(etcd_number(object, "a"), 9223372036854775807);
  EXPECT_EQ(etcd_number(object, "b"), 0);
  EXPECT_EQ(etcd_number(object, "c"), 0);
  EXPECT_EQ(etcd_number(object, "d"), 0);
}

}  // namespace
}  // namespace timeball::server
