// The master keys on disk and in time: the key file, and the rotation that replaces keys.
//
// Key file, text, one line each, ended by '\n', nothing else before, between or after:
//   timeball-master-keys 1
//   rotated SECONDS              kernel time of the last rotation, since 1970, decimal
//   next ID KEY                  ID: 8, KEY: 64 hexadecimal digits, lower case
//   current ID KEY
//   old ID KEY                   any number, newest first
//   sha256 DIGEST                of everything above, 64 hexadecimal digits
// A file that differs in one octet, or is cut short, is refused as a whole: the digest tells
// damage, not forgery (whoever can write the file has the keys).
//
// Rotation runs on the monotonic clock, so a step of the kernel's clock moves nothing in a running
// daemon. After a restart the age of the current key comes from SECONDS, held to [0, rotation]: a
// wrong clock costs at most one early rotation. Where SECONDS lies in the future (an appliance that
// boots in 1970) the age is taken again once the clock has passed it; when an hour did not
// bring that, the clock is believed and SECONDS is rewritten.
// A file deleted under a running daemon comes back with the next rotation, not before.
//
// Thread rules: MasterKeyStore belongs to the control thread; keys() and status() from any.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/base/published.h"
#include "common/base/secret_memory.h"
#include "common/base/seqlock.h"
#include "common/nts/key_ring.h"
#include "common/time/time_scales.h"
#include "server/config.h"
#include "server/key_provider.h"

namespace timeball::server {

inline constexpr std::size_t kMaxKeyFileLength = 131'072;  // over 1,500 generations
inline constexpr unsigned kMaxKeep = 1500;

// What the key file holds.
struct KeyFile {
  std::int64_t rotated_s = 0;  // kernel time of the last rotation, 0 .. kMaxRotatedSeconds
  nts::KeyRing ring;           // not empty
};
inline constexpr std::int64_t kMaxRotatedSeconds = 9'223'372'036;  // 2262: where nanoseconds end

// The file's text. Pure.
SecretText format_key_file(const KeyFile& file);
// Exactly what format_key_file() writes; the error says what is wrong, not where the file is. Pure.
Result<KeyFile> parse_key_file(std::string_view text);

// The last rotation's time as a key file holds it.
std::int64_t rotation_second(KernelTime wall);
// A key, and a ring whose current key has the given identifier. Errors: no randomness.
Result<nts::MasterKeySecret> fresh_key(const EntropySource& entropy);
Result<nts::KeyRing> fresh_ring(std::uint32_t first_id, const EntropySource& entropy);

class MasterKeyStore : public KeyProvider {
 public:
  // Loads config.file, or makes and writes the first keys when there is none. The first identifier
  // is random, so that another server's cookies meet an unknown one. Errors: a file that is
  // damaged, unreadable, not regular, a symbolic link, somebody else's, or open to group or others;
  // a directory that cannot be written; each with what to do. Requires config.rotation > 0,
  // config.keep <= kMaxKeep.
  // follows: another process keeps the file; this one takes up what it finds there within a second,
  // and changes nothing.
  static Result<std::unique_ptr<MasterKeyStore>> open(const KeysConfig& config,
                                                      EntropySource entropy, MonotonicTime now,
                                                      KernelTime wall, bool follows = false);

  // Rotates when due; about once a second. The file is written first, then the ring is published:
  // when the write fails the running keys stay, the failure is counted and logged, and it is tried
  // again after kRetryInterval.
  void tick(MonotonicTime now, KernelTime wall) override;
  Result<void> rotate(MonotonicTime now, KernelTime wall) override;
  // Under a new random identifier, here and in the file.
  Result<void> rekey(MonotonicTime now, KernelTime wall) override;
  Result<void> verify() const override;
  // Reads the file again, into a ring of its own, then publishes that. On any error the running
  // keys stay.
  Result<void> reload(MonotonicTime now, KernelTime wall);

  // Never holds an empty ring.
  const Published<nts::KeyRing>& keys() const override { return keys_; }
  MasterKeyStatus status() const override { return status_.load(); }

  static constexpr std::chrono::seconds kRetryInterval{30};
  static constexpr std::chrono::hours kClockPatience{1};

 private:
  MasterKeyStore(const KeysConfig& config, EntropySource entropy, const KeyFile& file,
                 MonotonicTime now, KernelTime wall);
  Result<KeyFile> read() const;
  void follow(MonotonicTime now, KernelTime wall);
  void adopt(const KeyFile& file, MonotonicTime now, KernelTime wall);
  void settle_age(MonotonicTime now, KernelTime wall);
  Result<void> replace(nts::KeyRing ring, MonotonicTime now, KernelTime wall);
  Result<void> write(const KeyFile& file);
  void publish_status();

  KeysConfig config_;
  EntropySource entropy_;
  bool follows_ = false;
  std::string trouble_;  // with the followed file, said already
  Published<nts::KeyRing> keys_;
  std::int64_t rotated_s_ = 0;
  bool age_settled_ = true;  // false while rotated_s_ lies in the kernel clock's future
  MonotonicTime adopted_at_;
  MonotonicTime retry_at_;
  MasterKeyStatus current_;
  Seqlock<MasterKeyStatus> status_;
};

}  // namespace timeball::server
