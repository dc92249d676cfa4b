// A simulated rack to which anything is done and said: it answers every command with one line, its
// time goes on, and nothing that it tells the host is of the future.
// Octet 0: receiver and rubidium; then pieces: what, hundredths of a second to wait, length,
// octets.
#include <algorithm>
#include <cmath>
#include <string_view>

#include "refclock/sim/rack.h"
#include "refclock/sim/rack_control.h"
#include "tests/fuzz/property.h"

using namespace timeball;
using namespace timeball::refclock;
using namespace timeball::refclock::sim;

namespace {

void check_answer(std::string_view answer) {
  require(answer == "ok" || answer.starts_with("error: ") || answer.starts_with("{"));
  require(answer.find('\n') == std::string_view::npos);
}

void check_rack(Rack& rack) {
  for (const StampedEdge& edge : rack.take_edges()) {
    require(rack.plugged(edge.port));
    require(edge.stamp <= rack.now() && rack.now() - edge.stamp < std::chrono::seconds(3));
  }
  for (const Port line : {Port::kGnss, Port::kRubidium}) {
    require(rack.read(line).empty() || rack.plugged(line));
  }
  require(rack.next() > rack.now());
  if (rack.rubidium() == nullptr) return;
  require(std::isfinite(rack.rubidium()->model().phase_s()));
  require(std::isfinite(rack.rubidium()->frequency()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader input({data, size});
  RackOptions options;
  const unsigned kinds = input.u8();
  options.receiver = static_cast<ReceiverKind>(kinds % 4);
  options.rubidium = static_cast<RubidiumKind>(kinds / 4 % 4);
  Rack rack(options, SimTime{1'814'399'990'300'000'000});  // ten seconds before a month's end
  for (unsigned piece = 0; input.remaining() > 0 && piece < 100; ++piece) {
    const unsigned what = input.u8() % 3;
    rack.advance(rack.now() + input.u8() * std::chrono::milliseconds(10));
    check_rack(rack);
    const std::size_t length = input.u8();
    const Bytes octets = input.take(std::min(length, input.remaining()));
    const std::string_view text(reinterpret_cast<const char*>(octets.data()), octets.size());
    if (what == 0) check_answer(execute(rack, text, KernelTime{}));
    if (what == 1) rack.write(Port::kGnss, octets);
    if (what == 2) rack.write(Port::kRubidium, octets);
  }
  rack.advance(rack.now() + std::chrono::seconds(3));
  check_rack(rack);
  check_answer(execute(rack, "status", KernelTime{}));
  return 0;
}
