// What a fuzz target asserts, in every build type.
#pragma once

#include <cstdlib>

// Ends the process when a property does not hold; the stack trace names it.
inline void require(bool property) {
  if (!property) std::abort();
}
