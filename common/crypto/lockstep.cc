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
    const Job& first = *jobs[0];
    return job.nonce.size() == first.nonce.size() &&
           job.associated_data.size() == first.associated_data.size() &&
           job.plaintext.size() == first.plaintext.size();
  }

  std::array<Job*, kMaxLanes> jobs;
  std::size_t count = 0;
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

 private:
  template <class Job>
  using Shapes = std::array<Waiting<Job>, kWaitingShapes>;

  // Kernels are called from here and below only, so that all of their stack is below forget()'s.
  template <class Job>
  void run(std::span<Job> burst, Shapes<Job>& shapes) {
    widest_used_ = nullptr;
    distribute(burst, shapes);
    if (widest_used_ != nullptr) widest_used_->forget();
  }

  // A group leaves as soon as it is full; what is left at the end goes into narrower kernels.
  template <class Job>
  void distribute(std::span<Job> burst, Shapes<Job>& shapes) {
    std::size_t used = 0;
    std::size_t oldest = 0;
    for (Job& job : burst) {
      if (refused(job)) continue;
      std::size_t i = 0;
      while (i < used && !shapes[i].takes(job)) ++i;
      if (i == kWaitingShapes) {
        i = std::exchange(oldest, (oldest + 1) % kWaitingShapes);
        flush(shapes[i]);
      } else if (i == used) {
        ++used;
      }
      Waiting<Job>& shape = shapes[i];
      shape.jobs[shape.count++] = &job;
      if (shape.count == kernels_.front().lanes) flush(shape);
    }
    for (std::size_t i = 0; i < used; ++i) flush(shapes[i]);
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
  void flush(Waiting<Job>& waiting) {
    std::span<Job*> jobs = std::span(waiting.jobs).first(waiting.count);
    while (!jobs.empty()) {
      const auto kernel = std::find_if(kernels_.begin(), kernels_.end(), [&](const Kernel& k) {
        return jobs.size() >= k.worth_from;
      });
      const auto taken = jobs.first(std::min<std::size_t>(jobs.size(), kernel->lanes));
      if (widest_used_ == nullptr || kernel->lanes > widest_used_->lanes) widest_used_ = &*kernel;
      call<Job>(*kernel, taken);
      jobs = jobs.subspan(taken.size());
    }
    waiting.count = 0;
  }

  template <class Job>
  void call(const Kernel& kernel, std::span<Job* const> jobs) const {
    Group group;
    group.nonce_length = jobs[0]->nonce.size();
    group.associated_data_length = jobs[0]->associated_data.size();
    group.text_length = jobs[0]->plaintext.size();
    for (std::size_t lane = 0; lane < kernel.lanes; ++lane) {
      const Job& job = *jobs[std::min(lane, jobs.size() - 1)];
      group.key[lane] = job.key.data();
      group.nonce[lane] = job.nonce.data();
      group.associated_data[lane] = job.associated_data.data();
      place(group, lane, job);
    }
    finish(kernel, group, jobs);
  }

  // Where in a ciphertext the text and the tag are.
  std::size_t text_offset() const { return tag_is_last_ ? 0 : kTagLength; }
  std::size_t tag_offset(std::size_t text_length) const { return tag_is_last_ ? text_length : 0; }

  void place(Group& group, std::size_t lane, const SealJob& job) const {
    group.in[lane] = job.plaintext.data();
    group.out[lane] = job.ciphertext.data() + text_offset();
    group.tag[lane] = job.ciphertext.data() + tag_offset(job.plaintext.size());
  }
  void place(Group& group, std::size_t lane, const OpenJob& job) const {
    group.in[lane] = job.ciphertext.data() + text_offset();
    group.out[lane] = job.plaintext.data();
    group.given[lane] = job.ciphertext.data() + tag_offset(job.plaintext.size());
  }

  static void finish(const Kernel& kernel, const Group& group, std::span<const SealJob* const>) {
    kernel.seal(group);
  }
  static void finish(const Kernel& kernel, const Group& group, std::span<OpenJob* const> jobs) {
    const std::uint32_t authentic = kernel.open(group);
    for (std::size_t lane = 0; lane < jobs.size(); ++lane) {
      OpenJob& job = *jobs[lane];
      job.authentic = (authentic >> lane & 1) != 0;
      if (!job.authentic) {
        std::fill(job.plaintext.begin(), job.plaintext.end(), std::uint8_t{0});
      }
    }
  }

  const AeadParameters& parameters_;
  const bool tag_is_last_;
  const std::vector<Kernel> kernels_;
  Shapes<const SealJob> waiting_seals_;
  Shapes<OpenJob> waiting_opens_;
  const Kernel* widest_used_ = nullptr;  // by the burst at hand
};

}  // namespace

std::unique_ptr<Row> make_lockstep_row(AeadId id, std::vector<Kernel> kernels) {
  return std::make_unique<LockstepRow>(parameters(id), std::move(kernels));
}

}  // namespace timeball::crypto
