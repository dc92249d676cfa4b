// The kernels of the rows "vaes512": eight jobs in lockstep, and four. This file alone is compiled
// for VAES, VPCLMULQDQ and AVX-512 (F, BW, VL).
#include "common/crypto/siv_lanes.h"

namespace timeball::crypto {

template <int kKeyWords, int kRegisters>
constexpr Kernel kSiv = {4 * kRegisters, kRegisters == 2 ? 4 + 1 : 2,
                         SivLanes<Lanes<Register<4>, kRegisters>, kKeyWords>::seal,
                         SivLanes<Lanes<Register<4>, kRegisters>, kKeyWords>::open};

const KernelTable kVaes512Kernels = {
    {kSiv<4, 2>, kSiv<4, 1>},
    {kSiv<6, 2>, kSiv<6, 1>},
    {kSiv<8, 2>, kSiv<8, 1>},
};

}  // namespace timeball::crypto
