#include "server/clock_helper.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "server/landlock.h"
#include "server/system_calls.h"

namespace timeball::server {
namespace {

constexpr int kSocket = 3;                 // nothing behind standard error but this
constexpr int kStartPatience_ms = 10'000;  // a service is started meanwhile

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

// Nobody is waited for: whose queue is full does not listen.
int connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  path.copy(address.sun_path, path.size());
  const int socket = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket < 0) return -1;
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      ::fcntl(socket, F_SETFL, O_RDWR) == 0) {
    return socket;
  }
  const int why = std::exchange(errno, 0);
  ::close(socket);
  errno = why;
  return -1;
}

// errno of its first word, which stays to be read; 0: it will steer.
int first_word(int socket) {
  pollfd word{socket, POLLIN, 0};
  if (::poll(&word, 1, kStartPatience_ms) <= 0) return ETIMEDOUT;
  refclock::ClockAnswer answer;
  if (::recv(socket, &answer, sizeof answer, MSG_PEEK) != sizeof answer) return ECONNRESET;
  return answer.result < 0 ? answer.error : 0;
}

const char* what_to_do(int error) {
  switch (error) {
    case ENOENT:
    case ECONNREFUSED:
      return "nobody listens there; start it (systemctl enable --now timeballd-clock.socket)";
    case EBUSY:
      return "another daemon steers the clock already; one may, at a time";
    case EACCES:
      return "this user may not steer the clock; timeballd-clock.socket and "
             "timeballd-clock.service name the one who may";
    default:
      return "no answer; see systemctl status timeballd-clock.service";
  }
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

void confine_clock_helper(SandboxMode sandbox, Duties duties) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw std::runtime_error("no_new_privs");
  if (sandbox == SandboxMode::kOff) return;
  if (sandbox == SandboxMode::kOn) (void)restrict_files({}, false);
  filter_system_calls(duties, sandbox == SandboxMode::kOn ? Violation::kEnds : Violation::kLogged);
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

refclock::KernelClockControl::Adjust reach_clock_helper(const std::string& path) {
  const int socket = connect_to(path);
  const int error = socket < 0 ? errno : first_word(socket);
  if (error != 0) {
    if (socket >= 0) ::close(socket);
    throw std::runtime_error("clock.helper: " + path + ": " + std::strerror(error) + ": " +
                             what_to_do(error));
  }
  return refclock::remote_clock(socket, [path] { return connect_to(path); });
}

void serve_as_clock_helper(const std::string& user) {
  const passwd* const daemon = ::getpwnam(user.c_str());
  if (daemon == nullptr) throw std::runtime_error("--clock-helper: there is no user " + user);
  const uid_t who = daemon->pw_uid;
  if (sd_listen_fds(1) != 1 || sd_is_socket(kSocket, AF_UNIX, SOCK_SEQPACKET, 1) <= 0) {
    throw std::runtime_error(
        "--clock-helper: no socket to serve at; timeballd-clock.socket starts this");
  }
  const refclock::KernelClockControl::Adjust kernel = refclock::KernelClockControl::kernel();
  ::signal(SIGPIPE, SIG_IGN);
  keep_capabilities(capability(CAP_SYS_TIME));
  confine_clock_helper(SandboxMode::kOn, kClockService);
  refclock::serve_clock_to(who, kSocket, kernel);
}

}  // namespace timeball::server
