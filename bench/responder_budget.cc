// Answers COUNT batches and does nothing else, so that callgrind can count what a batch takes
// (tests/budget.py). On AES-NI, because valgrind does not know the wider instructions.
//
// Exit status: 0; 2 bad arguments; 77 this CPU has no AES-NI.
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "bench/responder_load.h"

namespace {

using namespace timeball;

// "15", "30": NTS with that AEAD; "plain".
std::optional<crypto::AeadId> aead_named(std::string_view name) {
  unsigned number = 0;
  std::from_chars(name.data(), name.data() + name.size(), number);
  const auto* row = crypto::find_aead(static_cast<std::uint16_t>(number));
  if (row == nullptr) return std::nullopt;
  return row->id;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: responder_budget {15|16|17|30|plain} BATCH COUNT\n");
    return 2;
  }
  if (!crypto::available(crypto::Implementation::kAesNi)) return 77;
  bench::ResponderLoad load(aead_named(argv[1]), std::strtoul(argv[2], nullptr, 10),
                            crypto::Implementation::kAesNi);
  for (unsigned long left = std::strtoul(argv[3], nullptr, 10); left > 0; --left) {
    if (!load.answer()) return 1;
  }
  return 0;
}
