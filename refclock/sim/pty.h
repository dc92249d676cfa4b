// A pseudo-terminal that stands for a device's serial line, by a name of its own (a symbolic link)
// for as long as it lives. When it goes, whoever has it open is hung up on.
//
// As with a real line, what is sent while nobody has it open is lost, and so is what does not fit
// into the kernel's buffer because nobody reads.
//
// Thread rules: everything on the thread that runs the io_context.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "common/base/bytes.h"

namespace boost::asio {
class io_context;
}

namespace timeball::refclock::sim {

class Pty {
 public:
  // received: octets of the host. Throws std::runtime_error with one sentence.
  Pty(boost::asio::io_context& context, std::filesystem::path link,
      std::function<void(Bytes)> received);
  ~Pty();
  Pty(const Pty&) = delete;
  Pty& operator=(const Pty&) = delete;

  void send(Bytes octets);

 private:
  struct Master;
  std::filesystem::path link_;
  std::shared_ptr<Master> master_;  // shared with what is still to be called
};

}  // namespace timeball::refclock::sim
