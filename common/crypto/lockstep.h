// Rows whose jobs go through vector lanes side by side: jobs of a burst that have the same lengths
// form groups, which the kernels of common/crypto/kernel.h take. Internal to common/crypto.
//
// Thread rules: one thread. No allocation after construction.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "common/crypto/aead.h"
#include "common/crypto/kernel.h"

namespace timeball::crypto {

// kernels: from wide to narrow; the last takes one job alone.
std::unique_ptr<Row> make_lockstep_row(AeadId id, std::vector<Kernel> kernels);

}  // namespace timeball::crypto
