#include "common/crypto/aead.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "common/crypto/gcm_siv.h"
#include "common/crypto/siv.h"

namespace timeball::crypto {
namespace {

constexpr std::array<AeadParameters, 4> kTable = {{
    {AeadId::kAesSivCmac256, "AEAD_AES_SIV_CMAC_256", 32, 16, false},
    {AeadId::kAesSivCmac384, "AEAD_AES_SIV_CMAC_384", 48, 16, false},
    {AeadId::kAesSivCmac512, "AEAD_AES_SIV_CMAC_512", 64, 16, false},
    {AeadId::kAes128GcmSiv, "AEAD_AES_128_GCM_SIV", 16, 12, true},
}};

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

// In the table's order.
struct Engine::Rows {
  std::array<std::unique_ptr<Row>, kTable.size()> rows = {
      make_portable_siv_row(AeadId::kAesSivCmac256),
      make_portable_siv_row(AeadId::kAesSivCmac384),
      make_portable_siv_row(AeadId::kAesSivCmac512),
      make_portable_gcm_siv_row(),
  };
};

// The portable rows are the only ones so far, so they are what kAuto gives as well.
Engine::Engine(Implementation) : rows_(std::make_unique<Rows>()) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

Row& Engine::row(AeadId id) {
  return *rows_->rows[static_cast<std::size_t>(&parameters(id) - kTable.data())];
}

}  // namespace timeball::crypto
