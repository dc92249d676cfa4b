// What the service manager is told (sd_notify(3): systemd's Type=notify and WatchdogSec=). Nothing
// happens where nobody asked to be told ($NOTIFY_SOCKET is not set). Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace timeball::server {

// Whether threads that do something once a second, at least, still do.
class ProgressWatch {
 public:
  // turns: a count of each thread's, which grows while it lives; always in the same order. True:
  // each has grown since this was last true, and then counting begins anew.
  bool all_moved(const std::vector<std::uint64_t>& turns);

 private:
  std::vector<std::uint64_t> last_;
};

class Notifier {
 public:
  void ready(const std::string& status);  // everything serves, also after reloading()
  void reloading();
  void stopping();
  // Once a second: the watchdog is fed when every one of `turns` has moved, and the status, one
  // line, is asked for and told again every ten seconds.
  void tick(const std::function<std::string()>& status, const std::vector<std::uint64_t>& turns);

 private:
  ProgressWatch progress_;
  unsigned ticks_ = 0;
};

}  // namespace timeball::server
