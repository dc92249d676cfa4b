#include "server/sandbox_self_test.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "server/clock_helper.h"
#include "server/process_rights.h"
#include "server/sandbox.h"
#include "server/system_calls.h"

namespace timeball::server {
namespace {

constexpr const char* kOwnFile = "/var/tmp/timeballd-self-test";

// Returns whether it could be done.
struct Attempt {
  std::string what;
  std::function<bool()> attempt;
};

bool opens(const char* path, int flags) {
  return ::open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600) >= 0;
}

bool makes(const char* path) {
  return opens(path, O_WRONLY | O_CREAT | O_EXCL) && ::unlink(path) == 0;
}

// Says to the clock what it says already: should it be let, nothing has changed.
bool sets_clock() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return ::syscall(SYS_clock_settime, CLOCK_REALTIME, &now) == 0;
}

bool adjusts_clock() {
  timex t{};
  if (::syscall(SYS_clock_adjtime, CLOCK_REALTIME, &t) < 0) return false;
  t.modes = ADJ_FREQUENCY;
  return ::syscall(SYS_clock_adjtime, CLOCK_REALTIME, &t) >= 0;
}

bool makes_ring() {
  io_uring_params params{};
  return ::syscall(SYS_io_uring_setup, 4, &params) >= 0;
}

bool loads_bpf() {
  bpf_attr attr{};
  attr.map_type = BPF_MAP_TYPE_ARRAY;
  attr.key_size = attr.value_size = 4;
  attr.max_entries = 1;
  return ::syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr) >= 0;
}

bool runs_program() {
  const char* const arguments[] = {"/bin/true", nullptr};
  ::execve(arguments[0], const_cast<char* const*>(arguments), nullptr);
  return false;  // /bin/true's exit status is that of an attempt that went well
}

bool runs_own_code() {
  return ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0) != MAP_FAILED;
}

std::vector<Attempt> attempts(Duties duties, pid_t starter) {
  std::vector<Attempt> all = {
      {"read /etc/shadow", [] { return opens("/etc/shadow", O_RDONLY); }},
      {"read /root", [] { return opens("/root", O_RDONLY | O_DIRECTORY); }},
      {"write /etc/passwd", [] { return opens("/etc/passwd", O_WRONLY); }},
      {"make a file in /etc", [] { return makes("/etc/timeballd-self-test"); }},
      {"make a file in /var/tmp", [] { return makes("/var/tmp/timeballd-self-test.new"); }},
      {"remove a file of this user's", [] { return ::unlink(kOwnFile) == 0; }},
      {"run a program (execve)", &runs_program},
      {"start a process (fork)", [] { return ::syscall(SYS_fork) >= 0; }},
      {"make memory that is written and run", &runs_own_code},
      {"trace a process (ptrace)",
       [=] { return ::ptrace(PTRACE_SEIZE, starter, nullptr, nullptr) == 0; }},
      {"end another process (kill)", [=] { return ::kill(starter, 0) == 0; }},
      {"make a packet socket", [] { return ::socket(AF_PACKET, SOCK_RAW, 0) >= 0; }},
      {"make a netlink socket",
       [] { return ::socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER) >= 0; }},
      {"make a raw socket", [] { return ::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0; }},
      {"set the clock (clock_settime)", &sets_clock},
      {"adjust the clock (clock_adjtime)", &adjusts_clock},
      {"make an io_uring", &makes_ring},
      {"mount", [] { return ::mount("none", "/mnt", "tmpfs", 0, nullptr) == 0; }},
      {"use bpf", &loads_bpf},
      {"become root (setuid)", [] { return ::setuid(0) == 0; }},
      {"change its root (chroot)", [] { return ::chroot("/") == 0; }},
      {"take the place of SIGSYS's handler", [] { return ::signal(SIGSYS, SIG_IGN) != SIG_ERR; }},
  };
  if ((duties & kConnects) == 0) {
    all.push_back({"make a TCP socket", [] { return ::socket(AF_INET, SOCK_STREAM, 0) >= 0; }});
  }
  if ((duties & kXdp) == 0) {
    all.push_back({"ask for addresses and routes",
                   [] { return ::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) >= 0; }});
  }
  return all;
}

constexpr int kDone = 0;  // as /bin/true
constexpr int kFailed = 1;
constexpr int kNoSandbox = 2;

// In the child: its exit status is the answer.
[[noreturn]] void attempt_inside(const Attempt& attempt, const std::function<void()>& enter) {
  int failed = kFailed;
  try {
    // What a violation would say is what the parent says.
    ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
    enter();
    if (attempt.attempt()) failed = kDone;
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    std::fflush(stdout);
    failed = kNoSandbox;
  }
  ::_exit(failed);
}

bool fails(const std::string& who, const Attempt& attempt, const std::function<void()>& enter) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) attempt_inside(attempt, enter);
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return false;
  const bool ended = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
  const bool refused = WIFEXITED(status) && WEXITSTATUS(status) == kFailed;
  const char* const how = ended ? " (ended)" : refused ? " (refused)" : "";
  std::printf("%s: %s: %s%s\n", ended || refused ? "fails as it must" : "DOES NOT FAIL",
              who.c_str(), attempt.what.c_str(), how);
  return ended || refused;
}

}  // namespace

bool self_test_sandbox(const Config& config, const std::string& config_path) {
  const pid_t starter = ::getpid();
  bool all_fail = true;
  // There to be removed, if that can be.
  const int file = ::open(kOwnFile, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  const auto enter = [&] { (void)enter_sandbox(config, config_path); };
  for (const Attempt& attempt : attempts(duties_of(config), starter)) {
    all_fail &= fails("daemon", attempt, enter);
  }
  if (config.clock.mode == ClockMode::kSystem) {
    const Duties duties = config.clock.helper.empty() ? kSetsClock : kClockService;
    const auto confine = [&] {
      keep_capabilities(0);  // no test has the right to set a clock
      confine_clock_helper(config.process.sandbox, duties);
    };
    for (const Attempt& attempt : attempts(duties, starter)) {
      // To adjust the clock is what it is for.
      if (attempt.what.starts_with("adjust")) continue;
      all_fail &= fails("clock helper", attempt, confine);
    }
  }
  if (file >= 0) {
    ::close(file);
    ::unlink(kOwnFile);
  }
  std::printf(all_fail ? "all fail as they must\n"
                       : "the sandbox is not what it should be: see process.user and "
                         "process.sandbox, and whether this kernel has Landlock\n");
  return all_fail;
}

}  // namespace timeball::server
