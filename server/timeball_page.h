// timeball's man page, beyond its options: timeball(1).
#pragma once

#include "common/cli/manual.h"

namespace timeball::server {

cli::Page timeball_page();

}  // namespace timeball::server
