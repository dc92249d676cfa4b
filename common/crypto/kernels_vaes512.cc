// Eight jobs in lockstep, and four: this file alone is compiled for VAES, VPCLMULQDQ and AVX-512 F,
// BW and VL.
#include "common/crypto/kernel_table.h"

namespace timeball::crypto {

constinit const KernelTable kVaes512Kernels =
    kernel_table<Lanes<Register<4>, 2>, Lanes<Register<4>, 1>>(5, 2);

}  // namespace timeball::crypto
