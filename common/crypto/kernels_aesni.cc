// The kernels for AES-NI: two jobs interleaved, and one alone. This file alone is compiled for
// AES-NI, PCLMULQDQ and SSE4.1.
#include "common/crypto/siv_lanes.h"

namespace timeball::crypto {

template <int kKeyWords, int kRegisters>
constexpr Kernel kSiv = {kRegisters, kRegisters,
                         SivLanes<Lanes<Register<1>, kRegisters>, kKeyWords>::seal,
                         SivLanes<Lanes<Register<1>, kRegisters>, kKeyWords>::open};

const KernelTable kAesNiKernels = {
    {kSiv<4, 2>, kSiv<4, 1>},
    {kSiv<6, 2>, kSiv<6, 1>},
    {kSiv<8, 2>, kSiv<8, 1>},
};

}  // namespace timeball::crypto
