// The kernels of the rows "vaes256": four jobs in lockstep, and two. This file alone is compiled
// for VAES, VPCLMULQDQ and AVX2.
#include "common/crypto/siv_lanes.h"

namespace timeball::crypto {

template <int kKeyWords, int kRegisters>
constexpr Kernel kSiv = {2 * kRegisters, kRegisters == 2 ? 2 + 1 : 2,
                         SivLanes<Lanes<Register<2>, kRegisters>, kKeyWords>::seal,
                         SivLanes<Lanes<Register<2>, kRegisters>, kKeyWords>::open};

const KernelTable kVaes256Kernels = {
    {kSiv<4, 2>, kSiv<4, 1>},
    {kSiv<6, 2>, kSiv<6, 1>},
    {kSiv<8, 2>, kSiv<8, 1>},
};

}  // namespace timeball::crypto
