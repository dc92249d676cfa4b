// The kernel's random octets, for seeds and keys. Impure by nature: only composition roots call it.
#pragma once

#include "common/base/bytes.h"
#include "common/base/error.h"
#include "common/crypto/random.h"

namespace timeball::crypto {

// Fills `out` from getrandom(2), waiting for the kernel's pool to be initialised.
Result<void> read_entropy(MutableBytes out);

// A generator with a seed of its own. Throws std::runtime_error when the kernel gives none.
RandomGenerator seeded_generator();

}  // namespace timeball::crypto
