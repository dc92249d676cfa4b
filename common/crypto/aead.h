// The AEAD table: the algorithms of RFC 8915, section 5.6, by their IANA numbers, in burst form.
//
//   15, 16, 17  AEAD_AES_SIV_CMAC_256, _384, _512 (RFC 5297) in RFC 5116 form: S2V over the
//               associated data, the nonce, the plaintext; ciphertext = SIV || C. A nonce of no
//               octets is an absent one (RFC 5297, section 6): S2V then goes without it.
//   30          AEAD_AES_128_GCM_SIV (RFC 8452); ciphertext = C || tag
//
// One row per implementation of an algorithm; every row gives the same octets. A call takes a burst
// of independent jobs, each with its own key, so that a row may interleave them; jobs of one burst
// may differ in every length. Pure: no clock, no randomness, no heap that grows with use.
//
// Thread rules: an Engine belongs to one thread (it holds cipher contexts).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "common/base/bytes.h"

namespace timeball::crypto {

// IANA "AEAD Algorithms" registry.
enum class AeadId : std::uint16_t {
  kAesSivCmac256 = 15,
  kAesSivCmac384 = 16,
  kAesSivCmac512 = 17,
  kAes128GcmSiv = 30,
};

inline constexpr std::size_t kMaxKeyLength = 64;
inline constexpr std::size_t kTagLength = 16;  // of every algorithm here: ciphertext - plaintext

struct AeadParameters {
  AeadId id;
  std::string_view name;     // "AEAD_AES_SIV_CMAC_256"
  std::size_t key_length;    // octets
  std::size_t nonce_length;  // octets we send; RFC 8915 section 5.6's N_REQ = min(16, N_MAX)
  bool nonce_length_fixed;   // GCM-SIV takes only this length; SIV takes any, 0 included
};

// Every algorithm, in the registry's order.
std::span<const AeadParameters> aead_table();
// Null when the number is not one of ours.
const AeadParameters* find_aead(std::uint16_t iana_id);
const AeadParameters& parameters(AeadId id);

// ciphertext must have plaintext.size() + kTagLength octets; it may not overlap the inputs.
struct SealJob {
  Bytes key;
  Bytes nonce;
  Bytes associated_data;
  Bytes plaintext;
  MutableBytes ciphertext;
};

// plaintext must have ciphertext.size() - kTagLength octets; ciphertext shorter than kTagLength is
// refused. authentic: set by open(). When it is false the plaintext has been zeroed.
struct OpenJob {
  Bytes key;
  Bytes nonce;
  Bytes associated_data;
  Bytes ciphertext;
  MutableBytes plaintext;
  bool authentic = false;
};

// An OpenJob whose plaintext is sealed again, under the same key and associated data.
// fresh_ciphertext, as long as ciphertext, holds it when the job is authentic.
struct ResealJob : OpenJob {
  Bytes fresh_nonce;  // as long as nonce
  MutableBytes fresh_ciphertext;

  SealJob again() const { return {key, fresh_nonce, associated_data, plaintext, fresh_ciphertext}; }
};

// One implementation of one algorithm.
class Row {
 public:
  virtual ~Row() = default;
  // False only when the library underneath failed (out of memory): no ciphertext may then be sent.
  // Jobs whose key or nonce length does not fit the algorithm are our own bug (assert).
  [[nodiscard]] virtual bool seal(std::span<const SealJob> burst) = 0;
  // A nonce of a length the algorithm does not take makes a job inauthentic, nothing more.
  virtual void open(std::span<OpenJob> burst) = 0;
  // open(), then seal(): what both need, a row may compute once. False as for seal().
  [[nodiscard]] virtual bool reseal(std::span<ResealJob> burst);
};

// Which implementation of the algorithms to use.
enum class Implementation : std::uint8_t {
  kAuto,      // the fastest that this CPU has
  kPortable,  // OpenSSL's primitives, everywhere
  kAesNi,     // two jobs interleaved
  kVaes256,   // up to four jobs in lockstep lanes, as long as their lengths are the same
  kVaes512,   // up to eight
};

struct ImplementationName {
  Implementation implementation;
  std::string_view name;  // "vaes512"
};
// Every one, kAuto first, then from slow to fast.
std::span<const ImplementationName> implementations();
// Whether this CPU, and its operating system, can run it.
bool available(Implementation implementation);
// The fastest available for kAuto; what was asked for otherwise. Throws std::runtime_error when
// this CPU lacks it.
const ImplementationName& choose(Implementation asked);

// The rows one thread works with. Throws std::runtime_error when OpenSSL lacks a primitive, or the
// CPU the implementation.
class Engine {
 public:
  explicit Engine(Implementation implementation = Implementation::kAuto);
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;

  Row& row(AeadId id);

 private:
  struct Rows;
  std::unique_ptr<Rows> rows_;
};

}  // namespace timeball::crypto
