#include "server/timeball_page.h"

namespace timeball::server {

cli::Page timeball_page() {
  return {
      {"timeball", 1},
      "tests NTS servers, and commands a running timeballd",
      "Asks any NTS server for the time, step by step, and names the cause and the cure when that "
      "fails; makes certificates for a lab; and gives commands to the timeballd of this machine, "
      "by "
      "its socket: for that one must be root, or in the group timeball.",
      {{"FILES",
        {{"/run/timeball/control", "The daemon's socket (admin.socket in its settings)."}}},
       {"EXAMPLES",
        {{"",
          "  timeball query time.example.org\n"
          "  timeball query 192.0.2.1 --ca ca.pem --count 5\n"
          "  timeball cert lab /etc/timeball --host time.example.org\n"
          "  timeball keys show"}}},
       {"SEE ALSO", {{"", "timeballd(8), timeballd.toml(5), timeball-keys(5), ntsload(1)"}}}}};
}

}  // namespace timeball::server
