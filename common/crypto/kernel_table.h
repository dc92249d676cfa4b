// The kernels of one register width. Internal to common/crypto: each kernels_*.cc includes this.
#pragma once

#include "common/crypto/gcm_siv_lanes.h"
#include "common/crypto/siv_lanes.h"

namespace timeball::crypto {

template <class Cipher>
consteval Kernel kernel(unsigned worth_from) {
  return {Cipher::kJobs, worth_from, Cipher::seal, Cipher::open};
}

// Two kernels for each algorithm. worth_from: see Kernel.
template <class Wide, class Narrow>
consteval KernelTable kernel_table(unsigned wide_from, unsigned narrow_from) {
  return {{
      {kernel<SivLanes<Wide, 4>>(wide_from), kernel<SivLanes<Narrow, 4>>(narrow_from)},
      {kernel<SivLanes<Wide, 6>>(wide_from), kernel<SivLanes<Narrow, 6>>(narrow_from)},
      {kernel<SivLanes<Wide, 8>>(wide_from), kernel<SivLanes<Narrow, 8>>(narrow_from)},
      {kernel<GcmSivLanes<Wide>>(wide_from), kernel<GcmSivLanes<Narrow>>(narrow_from)},
  }};
}

}  // namespace timeball::crypto
