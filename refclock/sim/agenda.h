// What is to happen when, in virtual time: who runs it decides what time it is. Pure; one thread.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "refclock/sim/rubidium_model.h"

namespace timeball::refclock::sim {

class Agenda {
 public:
  void at(SimTime when, std::function<void()> what) { entries_.emplace(when, std::move(what)); }
  std::optional<SimTime> next() const {
    return entries_.empty() ? std::nullopt : std::optional(entries_.begin()->first);
  }
  // The first of them, which may add others.
  void run_next() {
    const auto first = entries_.extract(entries_.begin());
    first.mapped()();
  }

 private:
  std::multimap<SimTime, std::function<void()>> entries_;
};

}  // namespace timeball::refclock::sim
