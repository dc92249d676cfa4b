#include "common/crypto/entropy.h"

#include <sys/random.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "common/base/secret.h"

namespace timeball::crypto {

Result<void> read_entropy(MutableBytes out) {
  while (!out.empty()) {
    const ssize_t length = getrandom(out.data(), out.size(), 0);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) {
      return fail("cannot draw random octets from the kernel with getrandom: " +
                  std::generic_category().message(errno));
    }
    out = out.subspan(static_cast<std::size_t>(length));
  }
  return {};
}

RandomGenerator seeded_generator() {
  Secret<kSeedLength> seed;
  if (const auto filled = read_entropy(seed.resize(kSeedLength)); !filled) {
    throw std::runtime_error(filled.error().message);
  }
  return RandomGenerator(seed.bytes());
}

Result<void> reseed_if_due(RandomGenerator& random, std::int64_t monotonic_ns) {
  if (!random.reseed_due(monotonic_ns)) return {};
  Secret<kSeedLength> seed;
  if (const auto filled = read_entropy(seed.resize(kSeedLength)); !filled) return filled;
  random.reseed(seed.bytes());
  return {};
}

}  // namespace timeball::crypto
