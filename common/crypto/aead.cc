#include "common/crypto/aead.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef TIMEBALL_X86_KERNELS
#include <cpuid.h>
#endif

#include "common/crypto/gcm_siv.h"
#include "common/crypto/lockstep.h"
#include "common/crypto/siv.h"

namespace timeball::crypto {
namespace {

constexpr std::array<AeadParameters, 4> kTable = {{
    {AeadId::kAesSivCmac256, "AEAD_AES_SIV_CMAC_256", 32, 16, false},
    {AeadId::kAesSivCmac384, "AEAD_AES_SIV_CMAC_384", 48, 16, false},
    {AeadId::kAesSivCmac512, "AEAD_AES_SIV_CMAC_512", 64, 16, false},
    {AeadId::kAes128GcmSiv, "AEAD_AES_128_GCM_SIV", 16, 12, true},
}};

constexpr std::array<ImplementationName, 5> kImplementations = {{
    {Implementation::kAuto, "auto"},
    {Implementation::kPortable, "portable"},
    {Implementation::kAesNi, "aesni"},
    {Implementation::kVaes256, "vaes256"},
    {Implementation::kVaes512, "vaes512"},
}};

// What this CPU can run. __builtin_cpu_supports asks the operating system too, whether it saves the
// wide registers; clang 14's does not know VAES.
struct Cpu {
  bool aes_ni = false, vaes_256 = false, vaes_512 = false;
#ifdef TIMEBALL_X86_KERNELS
  Cpu() {
    __builtin_cpu_init();
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool leaf_1 = __get_cpuid(1, &a, &b, &c, &d) != 0;
    aes_ni = leaf_1 && (c & bit_AES) != 0 && __builtin_cpu_supports("pclmul") &&
             __builtin_cpu_supports("sse4.1");
    const bool leaf_7 = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0;
    const bool vaes = leaf_7 && (c & bit_VAES) != 0 && (c & bit_VPCLMULQDQ) != 0;
    vaes_256 = aes_ni && vaes && __builtin_cpu_supports("avx2");
    vaes_512 = vaes_256 && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  }
#endif
};

const ImplementationName& entry(Implementation implementation) {
  return *std::ranges::find(kImplementations, implementation, &ImplementationName::implementation);
}

// From wide to narrow; none: the portable row.
std::vector<Kernel> kernels([[maybe_unused]] Implementation implementation,
                            [[maybe_unused]] std::size_t algorithm) {
  std::vector<Kernel> result;
#ifdef TIMEBALL_X86_KERNELS
  const auto add = [&](const KernelTable& table) {
    std::ranges::copy(table.of[algorithm], std::back_inserter(result));
  };
  if (implementation == Implementation::kVaes512) add(kVaes512Kernels);
  if (implementation == Implementation::kVaes256) add(kVaes256Kernels);
  if (implementation != Implementation::kPortable) add(kAesNiKernels);
#endif
  return result;
}

std::unique_ptr<Row> make_row(AeadId id, std::vector<Kernel> kernels) {
  if (!kernels.empty()) return make_lockstep_row(id, std::move(kernels));
  if (id == AeadId::kAes128GcmSiv) return make_portable_gcm_siv_row();
  return make_portable_siv_row(id);
}

}  // namespace

std::span<const AeadParameters> aead_table() {
  return kTable;
}

const AeadParameters* find_aead(std::uint16_t iana_id) {
  const auto row = std::find_if(kTable.begin(), kTable.end(), [iana_id](const AeadParameters& p) {
    return static_cast<std::uint16_t>(p.id) == iana_id;
  });
  return row == kTable.end() ? nullptr : &*row;
}

const AeadParameters& parameters(AeadId id) {
  const AeadParameters* found = find_aead(static_cast<std::uint16_t>(id));
  assert(found != nullptr);
  return *found;
}

std::span<const ImplementationName> implementations() {
  return kImplementations;
}

bool available(Implementation implementation) {
  const Cpu cpu;
  switch (implementation) {
    case Implementation::kAuto:
    case Implementation::kPortable:
      return true;
    case Implementation::kAesNi:
      return cpu.aes_ni;
    case Implementation::kVaes256:
      return cpu.vaes_256;
    case Implementation::kVaes512:
      return cpu.vaes_512;
  }
  return false;
}

const ImplementationName& choose(Implementation asked) {
  if (!available(asked)) {
    throw std::runtime_error("this CPU cannot run the implementation \"" +
                             std::string(entry(asked).name) +
                             "\" of the cryptography: use \"auto\"");
  }
  if (asked != Implementation::kAuto) return entry(asked);
  return *std::find_if(kImplementations.rbegin(), kImplementations.rend(),
                       [](const auto& i) { return available(i.implementation); });
}

bool Row::reseal(std::span<ResealJob> burst) {
  bool ok = true;
  for (ResealJob& job : burst) {
    OpenJob& opened = job;
    open({&opened, 1});
    const SealJob again = job.again();
    if (job.authentic && !seal({&again, 1})) ok = false;
  }
  return ok;
}

// In the table's order.
struct Engine::Rows {
  explicit Rows(Implementation implementation) {
    for (std::size_t i = 0; i < kTable.size(); ++i) {
      rows[i] = make_row(kTable[i].id, kernels(implementation, i));
    }
  }
  std::array<std::unique_ptr<Row>, kTable.size()> rows;
};

Engine::Engine(Implementation implementation)
    : rows_(std::make_unique<Rows>(choose(implementation).implementation)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

Row& Engine::row(AeadId id) {
  return *rows_->rows[static_cast<std::size_t>(&parameters(id) - kTable.data())];
}

}  // namespace timeball::crypto
