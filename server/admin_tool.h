// What `timeball keys`, `timeball reload` and `timeball readmit` print: a daemon's answer, for a
// person. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <string>

namespace timeball::server {

// The answer to any command of server/admin_socket.h; command: "keys show".
std::string answer_text(const std::string& command, const boost::json::object& answer);

}  // namespace timeball::server
