// Random bursts through every implementation at once: the same octets, the same verdicts; and not
// an octet touched before or behind any buffer, for each lies against a page that cannot be read.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "common/crypto/aead.h"

namespace timeball::crypto {
namespace {

constexpr std::size_t kJobs = 24;
constexpr std::size_t kBuffers = 8;  // of a job
constexpr std::size_t kMaxLength = 600;
constexpr std::size_t kRounds = 1000;

// A buffer for each of so many things, with a guard page on either side.
class GuardedBuffers {
 public:
  explicit GuardedBuffers(std::size_t count)
      : page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))), length_((2 * count + 1) * page_) {
    void* memory =
        mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    base_ = static_cast<std::uint8_t*>(memory);
    for (std::size_t i = 0; i <= count; ++i) {
      if (mprotect(base_ + 2 * i * page_, page_, PROT_NONE) != 0) std::abort();
    }
  }
  ~GuardedBuffers() { munmap(base_, length_); }
  GuardedBuffers(const GuardedBuffers&) = delete;
  GuardedBuffers& operator=(const GuardedBuffers&) = delete;

  // The last octet before the guard page, or the first one behind it.
  MutableBytes at(std::size_t i, std::size_t length, bool at_end) const {
    std::uint8_t* begin = base_ + (2 * i + 1) * page_;
    return {at_end ? begin + page_ - length : begin, length};
  }

 private:
  std::size_t page_, length_;
  std::uint8_t* base_;
};

struct Shape {
  std::size_t nonce, associated_data, text;
};

struct NamedEngine {
  std::string name;
  std::unique_ptr<Engine> engine;
};

class Differential : public testing::TestWithParam<AeadId> {
 protected:
  Differential() {
    for (const auto& [implementation, name] : implementations()) {
      if (implementation == Implementation::kAuto || !available(implementation)) continue;
      rows_.push_back({std::string(name), std::make_unique<Engine>(implementation)});
    }
  }

  std::size_t below(std::size_t bound) { return random_() % bound; }

  // As NTS has them, and every length around the ends of blocks.
  std::size_t length() {
    constexpr std::size_t kBounds[] = {1, 18, 66, 200, kMaxLength};
    return below(kBounds[below(std::size(kBounds))]);
  }

  MutableBytes buffer(std::size_t job, std::size_t which, std::size_t length) {
    return buffers_.at(job * kBuffers + which, length, below(2) != 0);
  }
  MutableBytes drawn(std::size_t job, std::size_t which, std::size_t length) {
    const MutableBytes octets = buffer(job, which, length);
    std::ranges::generate(octets, [this] { return static_cast<std::uint8_t>(random_()); });
    return octets;
  }

  // One burst of few shapes, so that there are groups, whole and partial, and jobs by themselves.
  void make_burst() {
    const AeadParameters& aead = parameters(GetParam());
    std::vector<Shape> shapes(1 + below(below(4) == 0 ? 12 : 3));
    for (Shape& shape : shapes) {
      const bool usual = aead.nonce_length_fixed || below(2) == 0;
      shape = {usual ? aead.nonce_length : below(40), length(), length()};
    }
    seals_.clear();
    for (std::size_t i = 0, jobs = 1 + below(kJobs); i < jobs; ++i) {
      const Shape& shape = shapes[below(shapes.size())];
      seals_.push_back({drawn(i, 0, aead.key_length), drawn(i, 1, shape.nonce),
                        drawn(i, 2, shape.associated_data), drawn(i, 3, shape.text),
                        buffer(i, 4, shape.text + kTagLength)});
    }
  }

  void seal_with_every_row() {
    for (const NamedEngine& row : rows_) {
      for (const SealJob& job : seals_) std::ranges::fill(job.ciphertext, std::uint8_t{0xee});
      ASSERT_TRUE(row.engine->row(GetParam()).seal(seals_));
      std::vector<std::vector<std::uint8_t>> sealed;
      for (const SealJob& job : seals_) {
        sealed.emplace_back(job.ciphertext.begin(), job.ciphertext.end());
      }
      if (&row == &rows_.front()) expected_ = sealed;
      ASSERT_EQ(sealed, expected_) << row.name << " against " << rows_.front().name;
    }
  }

  // Changes a bit of anything authenticated in about every third job.
  void forge() {
    forged_.assign(seals_.size(), false);
    for (std::size_t i = 0; i < seals_.size(); ++i) {
      if (below(3) != 0) continue;
      const Bytes parts[] = {seals_[i].nonce, seals_[i].associated_data, seals_[i].ciphertext};
      const Bytes part = parts[below(3)];
      if (part.empty()) continue;
      const_cast<std::uint8_t&>(part[below(part.size())]) ^=
          static_cast<std::uint8_t>(1U << below(8));
      forged_[i] = true;
    }
  }

  void open_with_every_row() {
    for (const NamedEngine& row : rows_) {
      std::vector<OpenJob> opens;
      for (std::size_t i = 0; i < seals_.size(); ++i) {
        const SealJob& seal = seals_[i];
        const MutableBytes opened = buffer(i, 5, seal.plaintext.size());
        std::ranges::fill(opened, std::uint8_t{0xee});
        opens.push_back({seal.key, seal.nonce, seal.associated_data, seal.ciphertext, opened});
      }
      row.engine->row(GetParam()).open(opens);
      for (std::size_t i = 0; i < opens.size(); ++i) {
        ASSERT_EQ(opens[i].authentic, !forged_[i]) << row.name << ", job " << i;
        const std::vector<std::uint8_t> zeros(opens[i].plaintext.size());
        ASSERT_TRUE(
            std::ranges::equal(opens[i].plaintext, forged_[i] ? Bytes(zeros) : seals_[i].plaintext))
            << row.name << ", job " << i;
      }
    }
  }

  // The jobs, forged ones too, and what sealing their texts with other nonces gives.
  void reseal_with_every_row() {
    std::vector<SealJob> again;
    std::vector<std::vector<std::uint8_t>> fresh;
    for (std::size_t i = 0; i < seals_.size(); ++i) {
      const SealJob& job = seals_[i];
      fresh.emplace_back(job.ciphertext.size());
      again.push_back({job.key, drawn(i, 6, job.nonce.size()), job.associated_data, job.plaintext,
                       fresh.back()});
    }
    ASSERT_TRUE(rows_.front().engine->row(GetParam()).seal(again));
    for (const NamedEngine& row : rows_) {
      std::vector<ResealJob> jobs;
      for (std::size_t i = 0; i < seals_.size(); ++i) {
        const SealJob& job = seals_[i];
        jobs.push_back({{job.key, job.nonce, job.associated_data, job.ciphertext,
                         buffer(i, 5, job.plaintext.size())},
                        again[i].nonce,
                        buffer(i, 7, job.ciphertext.size())});
      }
      ASSERT_TRUE(row.engine->row(GetParam()).reseal(jobs));
      for (std::size_t i = 0; i < jobs.size(); ++i) {
        ASSERT_EQ(jobs[i].authentic, !forged_[i]) << row.name << ", job " << i;
        const std::vector<std::uint8_t> zeros(jobs[i].plaintext.size());
        const Bytes text = forged_[i] ? Bytes(zeros) : seals_[i].plaintext;
        ASSERT_TRUE(std::ranges::equal(jobs[i].plaintext, text)) << row.name << ", job " << i;
        ASSERT_TRUE(forged_[i] || std::ranges::equal(jobs[i].fresh_ciphertext, fresh[i]))
            << row.name << ", job " << i;
      }
    }
  }

  std::mt19937 random_{20'260'004};
  std::vector<NamedEngine> rows_;
  GuardedBuffers buffers_{kJobs * kBuffers};
  std::vector<SealJob> seals_;
  std::vector<std::vector<std::uint8_t>> expected_;
  std::vector<bool> forged_;
};

TEST_P(Differential, RandomBurstsGiveTheSameOctetsAndVerdictsInEveryRow) {
  for (std::size_t round = 0; round < kRounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    make_burst();
    ASSERT_NO_FATAL_FAILURE(seal_with_every_row());
    forge();
    ASSERT_NO_FATAL_FAILURE(open_with_every_row());
    ASSERT_NO_FATAL_FAILURE(reseal_with_every_row());
  }
}

INSTANTIATE_TEST_SUITE_P(EveryAlgorithm, Differential,
                         testing::Values(AeadId::kAesSivCmac256, AeadId::kAesSivCmac384,
                                         AeadId::kAesSivCmac512, AeadId::kAes128GcmSiv),
                         [](const auto& test) {
                           return std::to_string(static_cast<int>(test.param));
                         });

}  // namespace
}  // namespace timeball::crypto
