#include "common/crypto/lockstep.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

namespace timeball::crypto {
namespace {

// How many shapes wait at once for more jobs of theirs. A client's program gives its requests their
// shape, so that real traffic has few.
constexpr std::size_t kWaitingShapes = 8;

// What a burst holds of one shape and has not been through a kernel yet.
template <class Job>
struct Waiting {
  bool takes(const Job& job) const {
    return job.associated_data.size() == group.associated_data_length &&
           job.plaintext.size() == group.text_length && job.nonce.size() == group.nonce_length;
  }

  Group group;
  std::size_t count;
  std::array<Job*, kMaxLanes> jobs;
  std::array<Lane, kMaxLanes> lanes;
};

class LockstepRow final : public Row {
 public:
  LockstepRow(const AeadParameters& parameters, std::vector<Kernel> kernels)
      : parameters_(parameters),
        tag_is_last_(parameters.id == AeadId::kAes128GcmSiv),
        kernels_(std::move(kernels)) {
    assert(!kernels_.empty() && kernels_.back().worth_from == 1);
    assert(kernels_.front().lanes <= kMaxLanes);
  }

  bool seal(std::span<const SealJob> burst) override {
    run(burst, waiting_seals_);
    return true;
  }

  void open(std::span<OpenJob> burst) override { run(burst, waiting_opens_); }

  bool reseal(std::span<ResealJob> burst) override {
    if (kernels_.front().reseal == nullptr) return Row::reseal(burst);
    run(burst, waiting_reseals_);
    return true;
  }

 private:
  template <class Job>
  using Shapes = std::array<Waiting<Job>, kWaitingShapes>;

  // Every kernel is called below here, so that all of its stack is below forget()'s.
  template <class Job>
  void run(std::span<Job> burst, Shapes<Job>& shapes) {
    widest_used_ = nullptr;
    if (burst.size() == 1) {
      alone(burst.front());
    } else {
      group(burst, shapes);
    }
    if (widest_used_ != nullptr) widest_used_->forget();
  }

  // An idle server's every burst: no shape to look for, no lane to fill. Not inlined into run(),
  // where the kernel's stack would begin at the very octet where forget()'s does.
  template <class Job>
  [[gnu::noinline]] void alone(Job& job) {
    if (refused(job)) return;
    const Lane only = lane(job);
    Group group = shape_of(job);
    group.lanes = &only;
    Job* const jobs[] = {&job};
    widest_used_ = &kernels_.back();
    finish(kernels_.back(), group, jobs);
  }

  // A group leaves as soon as it is full; what is left at the end goes into narrower kernels.
  template <class Job>
  void group(std::span<Job> burst, Shapes<Job>& shapes) {
    std::size_t used = 0;
    std::size_t oldest = 0;
    for (Job& job : burst) {
      if (refused(job)) continue;
      std::size_t i = 0;
      while (i < used && !shapes[i].takes(job)) ++i;
      if (i == used) {
        if (used < kWaitingShapes) {
          ++used;
        } else {
          i = std::exchange(oldest, (oldest + 1) % kWaitingShapes);
          flush(shapes[i]);
        }
        begin(shapes[i], job);
      }
      append(shapes[i], job);
      if (shapes[i].count == kernels_.front().lanes) flush(shapes[i]);
    }
    for (Waiting<Job>& shape : std::span(shapes).first(used)) flush(shape);
  }

  template <class Job>
  static void begin(Waiting<Job>& shape, Job& job) {
    shape.group = shape_of(job);
    shape.count = 0;
  }

  template <class Job>
  static Group shape_of(const Job& job) {
    return {job.nonce.size(), job.associated_data.size(), job.plaintext.size(), nullptr};
  }

  template <class Job>
  void append(Waiting<Job>& shape, Job& job) const {
    shape.lanes[shape.count] = lane(job);
    shape.jobs[shape.count] = &job;
    ++shape.count;
  }

  // In SIV the tag comes before the text, in GCM-SIV after it.
  Lane lane(const SealJob& job) const {
    std::uint8_t* text = job.ciphertext.data() + (tag_is_last_ ? 0 : kTagLength);
    std::uint8_t* tag = job.ciphertext.data() + (tag_is_last_ ? job.plaintext.size() : 0);
    return {job.key.data(),
            job.nonce.data(),
            job.associated_data.data(),
            job.plaintext.data(),
            job.plaintext.data(),
            text,
            nullptr,
            tag};
  }
  Lane lane(const OpenJob& job) const {
    const std::uint8_t* text = job.ciphertext.data() + (tag_is_last_ ? 0 : kTagLength);
    const std::uint8_t* tag = job.ciphertext.data() + (tag_is_last_ ? job.plaintext.size() : 0);
    return {job.key.data(),
            job.nonce.data(),
            job.associated_data.data(),
            job.plaintext.data(),
            text,
            job.plaintext.data(),
            tag,
            nullptr};
  }
  Lane lane(const ResealJob& job) const {
    assert(job.fresh_nonce.size() == job.nonce.size());
    assert(job.fresh_ciphertext.size() == job.ciphertext.size());
    Lane both = lane(static_cast<const OpenJob&>(job));
    both.tag = job.fresh_ciphertext.data();
    both.fresh_nonce = job.fresh_nonce.data();
    both.fresh_out = job.fresh_ciphertext.data() + kTagLength;
    return both;
  }

  bool refused([[maybe_unused]] const SealJob& job) const {
    assert(job.key.size() == parameters_.key_length);
    assert(!parameters_.nonce_length_fixed || job.nonce.size() == parameters_.nonce_length);
    assert(job.ciphertext.size() == job.plaintext.size() + kTagLength);
    return false;
  }

  bool refused(OpenJob& job) const {
    assert(job.key.size() == parameters_.key_length);
    job.authentic = false;
    if (job.ciphertext.size() < kTagLength ||
        (parameters_.nonce_length_fixed && job.nonce.size() != parameters_.nonce_length)) {
      std::fill(job.plaintext.begin(), job.plaintext.end(), std::uint8_t{0});
      return true;
    }
    assert(job.ciphertext.size() == job.plaintext.size() + kTagLength);
    return false;
  }

  template <class Job>
  void flush(Waiting<Job>& shape) {
    std::size_t done = 0;
    while (done < shape.count) {
      const std::size_t left = shape.count - done;
      const auto kernel = std::find_if(kernels_.begin(), kernels_.end(),
                                       [left](const Kernel& k) { return left >= k.worth_from; });
      if (widest_used_ == nullptr || kernel->lanes > widest_used_->lanes) widest_used_ = &*kernel;
      for (std::size_t i = shape.count; i < done + kernel->lanes; ++i) {
        shape.lanes[i] = shape.lanes[done];
      }
      const std::size_t taken = std::min<std::size_t>(left, kernel->lanes);
      shape.group.lanes = &shape.lanes[done];
      finish(*kernel, shape.group, std::span(shape.jobs).subspan(done, taken));
      done += taken;
    }
    shape.count = 0;
  }

  static void finish(const Kernel& kernel, const Group& group, std::span<const SealJob* const>) {
    kernel.seal(group);
  }
  static void finish(const Kernel& kernel, const Group& group, std::span<OpenJob* const> jobs) {
    judge(kernel.open(group), jobs);
  }
  static void finish(const Kernel& kernel, const Group& group, std::span<ResealJob* const> jobs) {
    judge(kernel.reseal(group), jobs);
  }

  template <class Job>
  static void judge(std::uint32_t authentic, std::span<Job* const> jobs) {
    for (std::size_t lane = 0; lane < jobs.size(); ++lane) {
      Job& job = *jobs[lane];
      job.authentic = (authentic >> lane & 1) != 0;
      if (!job.authentic) std::ranges::fill(job.plaintext, std::uint8_t{0});
    }
  }

  const AeadParameters& parameters_;
  const bool tag_is_last_;
  const std::vector<Kernel> kernels_;
  Shapes<const SealJob> waiting_seals_;
  Shapes<OpenJob> waiting_opens_;
  Shapes<ResealJob> waiting_reseals_;
  const Kernel* widest_used_ = nullptr;  // by the burst at hand
};

}  // namespace

std::unique_ptr<Row> make_lockstep_row(AeadId id, std::vector<Kernel> kernels) {
  return std::make_unique<LockstepRow>(parameters(id), std::move(kernels));
}

}  // namespace timeball::crypto
