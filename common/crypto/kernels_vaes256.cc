// Four jobs in lockstep, and two: this file alone is compiled for VAES, VPCLMULQDQ and AVX2.
#include "common/crypto/kernel_table.h"

namespace timeball::crypto {

constinit const KernelTable kVaes256Kernels =
    kernel_table<Lanes<Register<2>, 2>, Lanes<Register<2>, 1>>(3, 2);

}  // namespace timeball::crypto
