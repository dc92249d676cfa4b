// Two jobs interleaved, and one alone: this file alone is compiled for AES-NI, PCLMULQDQ and
// SSE4.1.
#include "common/crypto/kernel_table.h"

namespace timeball::crypto {

constinit const KernelTable kAesNiKernels =
    kernel_table<Lanes<Register<1>, 2>, Lanes<Register<1>, 1>>(2, 1);

}  // namespace timeball::crypto
