// One line on a terminal that says how a run goes, written over and over; nothing when standard
// error is not a terminal. Main thread.
#pragma once

#include <string>

#include "bench/load_report.h"

namespace timeball::bench {

class Progress {
 public:
  Progress();                        // standard error, if it is a terminal
  explicit Progress(bool terminal);  // for tests
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // now: the latest interval. total: seconds the run takes.
  void show(const TimelinePoint& now, double total);
  void say(const std::string& text);
  void clear();

 private:
  const bool terminal_;
  bool shown_ = false;
};

// Without the terminal's control sequences; pure.
std::string progress_line(const TimelinePoint& now, double total);

}  // namespace timeball::bench
