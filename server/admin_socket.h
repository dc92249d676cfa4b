// The operator's commands to a running daemon, by a Unix socket: one line is asked, one line of
// JSON answers, and the connection ends.
//
//   keys rotate\n   ->   {"ok":true,...}\n   or   {"error":"one sentence that says what to do"}\n
//
// Mode 0660: the daemon's user, its group and root may ask; who did is in the log for every command
// that changes something. A limit on open connections and one deadline for each.
//
// Thread rules: everything on the thread that runs the io_context, and so are the commands.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/base/error.h"

namespace boost::asio {
class io_context;
}

namespace timeball::server {

struct AdminCommand {
  bool changes = false;  // something: it is logged
  std::function<Result<boost::json::object>()> run;
};
using AdminCommands = std::map<std::string, AdminCommand, std::less<>>;

class AdminSocket {
 public:
  // Makes the socket, in place of one that nobody listens on. The error says what is in the way.
  static Result<AdminSocket> open(boost::asio::io_context& context, const std::string& path,
                                  AdminCommands commands);
  ~AdminSocket();  // removes it
  AdminSocket(AdminSocket&&) noexcept;

 private:
  struct Impl;
  explicit AdminSocket(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;  // shared with the connections
};

// The client's side: what the daemon behind `path` answers. The error says whether it is there.
Result<boost::json::object> ask_daemon(const std::string& path, const std::string& command);

}  // namespace timeball::server
