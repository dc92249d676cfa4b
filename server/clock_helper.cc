#include "server/clock_helper.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>

#include "server/landlock.h"
#include "server/system_calls.h"

namespace timeball::server {
namespace {

constexpr int kSocket = 3;  // nothing behind standard error but this

void leave_all_but(int socket) {
  if (socket != kSocket) ::dup2(socket, kSocket);
  ::close_range(kSocket + 1, ~0U, 0);
}

void enter(const std::optional<Account>& account, SandboxMode sandbox, pid_t daemon) {
  ::prctl(PR_SET_NAME, "timeballd-clock");
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) ::signal(signal, SIG_IGN);
  become(account, capability(CAP_SYS_TIME));
  // To become another user undoes both.
  ::prctl(PR_SET_DUMPABLE, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != daemon) ::_exit(0);  // it was faster
  confine_clock_helper(sandbox);
}

[[noreturn]] void help(const std::optional<Account>& account, SandboxMode sandbox, pid_t daemon) {
  try {
    const refclock::KernelClockControl::Adjust kernel = refclock::KernelClockControl::kernel();
    enter(account, sandbox, daemon);
    refclock::serve_clock(kSocket, kernel);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "timeballd: clock helper: %s\n", error.what());
    ::_exit(1);
  }
  ::_exit(0);
}

}  // namespace

void confine_clock_helper(SandboxMode sandbox) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw std::runtime_error("no_new_privs");
  if (sandbox == SandboxMode::kOff) return;
  if (sandbox == SandboxMode::kOn) (void)restrict_files({}, false);
  filter_system_calls(kSetsClock,
                      sandbox == SandboxMode::kOn ? Violation::kEnds : Violation::kLogged);
}

refclock::KernelClockControl::Adjust start_clock_helper(const std::optional<Account>& account,
                                                        SandboxMode sandbox) {
  std::array<int, 2> ends{};
  const auto failed = [](const char* what) {
    return std::runtime_error(std::string("clock helper: ") + what + ": " + std::strerror(errno));
  };
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw failed("socketpair");
  }
  ::signal(SIGCHLD, SIG_IGN);  // nobody waits for it
  const pid_t daemon = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw failed("fork");
  if (child == 0) {
    leave_all_but(ends[1]);
    help(account, sandbox, daemon);
  }
  ::close(ends[1]);
  return refclock::remote_clock(ends[0]);
}

}  // namespace timeball::server
