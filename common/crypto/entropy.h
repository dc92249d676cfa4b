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

// Reseeds when the generator says that it is due. A kernel that gives nothing is an error to
// report; the generator then goes on from the state it has, which is safe, and is due still. Cheap
// when not due; else a system call: call it between batches.
Result<void> reseed_if_due(RandomGenerator& random, std::int64_t monotonic_ns);

}  // namespace timeball::crypto
