// Finished worlds in a file, so that a run that was broken off goes on where it was: one line each,
// exactly restorable. The first line names what the worlds were made with. One thread at a time.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "refclock/sim/world.h"

namespace timeball::refclock::sim {

struct FinishedWorld {
  WorldResult result;
  double wall_s = 0;
};

class KeptWorlds {
 public:
  // Reads what is there; a line that was not written to its end is dropped. Throws
  // std::runtime_error when the file cannot be written, has another first line, or a line that no
  // KeptWorlds wrote.
  KeptWorlds(const std::string& path, const std::string& made_with);

  // nullptr: not yet.
  const FinishedWorld* find(std::string_view scenario, std::uint64_t seed) const;
  // Throws std::runtime_error when it cannot be written.
  void append(std::string_view scenario, std::uint64_t seed, FinishedWorld world);

 private:
  std::string path_;
  std::map<std::pair<std::string, std::uint64_t>, FinishedWorld> worlds_;
  std::ofstream out_;
};

}  // namespace timeball::refclock::sim
