#include "server/system_calls.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/pps.h>
#include <linux/ptp_clock.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace timeball::server {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr Duties kThisBuild = kSanitizer;
#elif defined(__has_feature)
constexpr Duties kThisBuild =
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ? kSanitizer : 0;
#else
constexpr Duties kThisBuild = 0;
#endif

// As <asm/termbits.h>, which cannot stand beside <termios.h>.
constexpr std::uint64_t kTcGetS2 = 0x802c542a;

// pthread_create(3)'s clone(2): a thread, and no process.
constexpr std::uint64_t kThread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                                  CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |
                                  CLONE_CHILD_CLEARTID;

struct Rule {
  int call;
  std::vector<scmp_arg_cmp> arguments = {};  // every one holds
  std::uint32_t action = SCMP_ACT_ALLOW;
};

scmp_arg_cmp is(unsigned argument, std::uint64_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}
scmp_arg_cmp is_not(unsigned argument, std::uint64_t value) {
  return {argument, SCMP_CMP_NE, value, 0};
}
scmp_arg_cmp without(unsigned argument, std::uint64_t bits) {
  return {argument, SCMP_CMP_MASKED_EQ, bits, 0};
}

class Table {
 public:
  explicit Table(Duties duties) : duties_(duties) {}

  // Calls allowed to whoever has one of these duties.
  void allow(Duties duties, std::initializer_list<int> calls) {
    if ((duties_ & duties) == 0) return;
    for (const int call : calls) rules_.push_back({call});
  }
  // One call, with these arguments.
  void allow(Duties duties, int call, std::vector<scmp_arg_cmp> arguments) {
    if ((duties_ & duties) != 0) rules_.push_back({call, std::move(arguments)});
  }
  // One call, with any of these values in that argument.
  void allow_values(Duties duties, int call, unsigned argument,
                    std::initializer_list<std::uint64_t> values) {
    for (const std::uint64_t value : values) allow(duties, call, {is(argument, value)});
  }
  // A call that fails instead of ending the process: whoever makes it knows what to do then.
  void refuse(Duties duties, int call, std::vector<scmp_arg_cmp> arguments, int error) {
    if ((duties_ & duties) == 0) return;
    rules_.push_back({call, std::move(arguments), SCMP_ACT_ERRNO(static_cast<unsigned>(error))});
  }
  bool has(Duties duties) const { return (duties_ & duties) != 0; }
  const std::vector<Rule>& rules() const { return rules_; }

 private:
  Duties duties_;
  std::vector<Rule> rules_;
};

void add_memory_and_threads(Table& table) {
  // Memory. What can be written is never run, and where no modules of the name service are loaded,
  // nothing new is.
  table.allow(kServes, {SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
                        SCMP_SYS(mlock), SCMP_SYS(mlock2), SCMP_SYS(munlock)});
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    table.allow(kServes, call, {without(2, PROT_EXEC)});
    table.allow(kConnects, call, {without(2, PROT_WRITE)});
    table.allow(kSanitizer, {call});
  }
  // Threads. glibc asks for clone3 first, whose flags no filter sees.
  table.allow(kServes, SCMP_SYS(clone), {is(0, kThread)});
  table.refuse(kServes, SCMP_SYS(clone3), {}, ENOSYS);
  table.allow(kServes, {SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
                        SCMP_SYS(membarrier), SCMP_SYS(sched_yield), SCMP_SYS(exit)});
  // Their names, their CPUs, their places in the queue.
  table.allow(kServes, SCMP_SYS(prctl), {is(0, PR_SET_NAME)});
  table.allow(kServes,
              {SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_setaffinity),
               SCMP_SYS(sched_setscheduler), SCMP_SYS(sched_getscheduler), SCMP_SYS(sched_getparam),
               SCMP_SYS(sched_get_priority_max), SCMP_SYS(sched_get_priority_min)});
  table.allow(kServes, SCMP_SYS(setpriority), {is(0, PRIO_PROCESS)});
}

void add_signals_and_time(Table& table) {
  // Signals, to this process alone. Nobody takes SIGSYS away from the one below.
  table.allow(kServes, {SCMP_SYS(rt_sigprocmask), SCMP_SYS(sigaltstack)});
  table.allow(kServes, SCMP_SYS(rt_sigaction), {is_not(0, SIGSYS)});
  table.allow(kServes | kSetsClock, {SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall),
                                     SCMP_SYS(exit_group), SCMP_SYS(getpid), SCMP_SYS(gettid)});
  table.allow(kServes | kSetsClock, SCMP_SYS(tgkill), {is(0, static_cast<unsigned>(::getpid()))});
  // Time, where the vDSO does not do; sleep.
  table.allow(kServes, {SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday),
                        SCMP_SYS(time), SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep)});
  // Waiting (Asio, the shards).
  table.allow(kServes, {SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(epoll_wait),
                        SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_create1),
                        SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime)});
  table.allow(kServes, {SCMP_SYS(getrandom)});
}

void add_files(Table& table) {
  // Descriptors, and the log.
  table.allow(kServes | kSetsClock, {SCMP_SYS(read), SCMP_SYS(write)});
  table.allow(kServes, {SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(close),
                        SCMP_SYS(lseek)});
  table.allow_values(kServes, SCMP_SYS(fcntl), 1,
                     {F_GETFL, F_SETFL, F_GETFD, F_SETFD, F_DUPFD_CLOEXEC});
  table.allow_values(kServes, SCMP_SYS(ioctl), 1, {TCGETS, kTcGetS2});  // is it a terminal?
  // Reading: configuration, certificates, leap seconds; /proc and /sys.
  if (table.has(kStores | kDevices)) {
    table.allow(kServes, {SCMP_SYS(openat)});
  } else {
    table.allow(kServes, SCMP_SYS(openat), {without(2, O_ACCMODE | O_CREAT | O_TRUNC | O_TMPFILE)});
  }
  table.refuse(kServes, SCMP_SYS(openat2), {}, ENOSYS);
  table.allow(kServes,
              {SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(stat), SCMP_SYS(lstat),
               SCMP_SYS(statx), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(access),
               SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(getdents64), SCMP_SYS(getcwd)});
  // Who and where we are.
  table.allow(kServes, {SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
                        SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrusage)});
  table.allow(kServes, SCMP_SYS(prlimit64), {is(2, 0)});  // reads a limit
  // The key file: written beside it, and put in its place.
  table.allow(kStores, {SCMP_SYS(fchmod), SCMP_SYS(fsync), SCMP_SYS(rename), SCMP_SYS(renameat),
                        SCMP_SYS(renameat2)});
  // Sockets in the file system go with the process.
  table.allow(kStores | kStreams | kDevices, {SCMP_SYS(unlink), SCMP_SYS(unlinkat)});
}

void add_network(Table& table) {
  // Datagrams, and the transmit times of a sample. A ring cannot be made any more, and those there
  // are do messages alone (common/net/uring_batch.cc).
  table.allow(kNtp, {SCMP_SYS(recvmmsg), SCMP_SYS(sendmmsg), SCMP_SYS(io_uring_enter)});
  table.allow(kNtp, SCMP_SYS(io_uring_register), {is(1, IORING_REGISTER_ENABLE_RINGS)});
  table.allow(kNtp | kStreams | kConnects | kDevices | kNotifies | kSteers,
              {SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendto)});
  // Streams that others begin.
  table.allow(kStreams, {SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(listen)});
  table.allow(kStreams | kConnects, {SCMP_SYS(shutdown), SCMP_SYS(setsockopt), SCMP_SYS(getsockopt),
                                     SCMP_SYS(getsockname), SCMP_SYS(getpeername)});
  table.allow_values(kStreams | kConnects | kDevices, SCMP_SYS(ioctl), 1, {FIONBIO, FIONREAD});
  // Streams that we begin, and names that we look up. getaddrinfo(3) asks nscd and the routing
  // tables, too, and does without.
  table.allow_values(kConnects, SCMP_SYS(socket), 0, {AF_INET, AF_INET6});
  table.allow(kConnects, {SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(sendmmsg), SCMP_SYS(select),
                          SCMP_SYS(pselect6)});
  // AF_XDP: frames move by sendto and recvfrom without octets; statistics; the host's addresses
  // (getifaddrs).
  table.allow(kXdp, {SCMP_SYS(getsockopt), SCMP_SYS(bind), SCMP_SYS(getsockname)});
  if (table.has(kXdp)) {
    table.allow(kXdp, SCMP_SYS(socket), {is(0, AF_NETLINK), is(2, NETLINK_ROUTE)});
  } else {
    table.refuse(kConnects, SCMP_SYS(socket), {is(0, AF_NETLINK)}, EAFNOSUPPORT);
  }
  table.allow(kSteers, SCMP_SYS(setsockopt), {is(1, SOL_SOCKET)});
  if (table.has(kNotifies | kSimulation | kSteers)) {
    table.allow(kServes, SCMP_SYS(socket), {is(0, AF_UNIX)});
    table.allow(kServes, {SCMP_SYS(connect), SCMP_SYS(recvfrom)});
  } else {
    table.refuse(kConnects, SCMP_SYS(socket), {is(0, AF_UNIX)}, EAFNOSUPPORT);
  }
}

void add_clocks(Table& table) {
  // Serial lines.
  table.allow_values(kDevices, SCMP_SYS(ioctl), 1,
                     {TCSETS, TCSETSW, TCSETSF, TCFLSH, TIOCEXCL, TIOCNXCL, TIOCSETD, TIOCMGET});
  // Pulses (RFC 2783) and PTP clocks.
  table.allow_values(
      kDevices, SCMP_SYS(ioctl), 1,
      {PPS_GETCAP, PPS_GETPARAMS, PPS_SETPARAMS, PPS_FETCH, PTP_CLOCK_GETCAPS, PTP_PIN_SETFUNC,
       PTP_EXTTS_REQUEST, PTP_EXTTS_REQUEST2, PTP_SYS_OFFSET_PRECISE, PTP_SYS_OFFSET_EXTENDED});
  // Other programs' shared memory, at the end.
  table.allow(kDevices, {SCMP_SYS(shmdt)});
  // The kernel's clock. Without CAP_SYS_TIME, which the helper alone has, this only reads.
  table.allow(kKernelClock | kSetsClock, {SCMP_SYS(clock_adjtime), SCMP_SYS(adjtimex)});
  // The helper's daemons come and go.
  table.allow(kAdmits, {SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(accept4), SCMP_SYS(getsockopt),
                        SCMP_SYS(close)});
}

// LeakSanitizer looks at the process from a child that traces it; a report is made by another. ASan
// asks for the signal stack before _exit().
void add_sanitizers(Table& table) {
  table.allow(kSanitizer, {SCMP_SYS(clone),
                           SCMP_SYS(ptrace),
                           SCMP_SYS(wait4),
                           SCMP_SYS(prctl),
                           SCMP_SYS(process_vm_readv),
                           SCMP_SYS(pipe),
                           SCMP_SYS(pipe2),
                           SCMP_SYS(execve),
                           SCMP_SYS(dup2),
                           SCMP_SYS(getppid),
                           SCMP_SYS(kill),
                           SCMP_SYS(tgkill),
                           SCMP_SYS(fork),
                           SCMP_SYS(vfork),
                           SCMP_SYS(mincore),
                           SCMP_SYS(arch_prctl),
                           SCMP_SYS(set_tid_address),
                           SCMP_SYS(socketpair),
                           SCMP_SYS(open),
                           SCMP_SYS(getdents),
                           SCMP_SYS(waitid),
                           SCMP_SYS(sigaltstack)});
}

// ---- What happens to a violation.

constexpr std::size_t kMostCalls = 512;
std::array<const char*, kMostCalls> call_names;

// Text built where nothing may be allocated.
class Line {
 public:
  void add(const char* text) {
    while (*text != '\0' && length_ < text_.size()) text_[length_++] = *text++;
  }
  void add_hex(std::uint64_t value) {
    int shift = 60;
    while (shift > 0 && (value >> shift) == 0) shift -= 4;
    add("0x");
    for (; shift >= 0; shift -= 4) {
      const char digit[] = {"0123456789abcdef"[(value >> shift) & 0xf], '\0'};
      add(digit);
    }
  }
  void write() const { (void)!::write(STDERR_FILENO, text_.data(), length_); }

 private:
  std::array<char, 256> text_;
  std::size_t length_ = 0;
};

// The first three arguments.
std::array<std::uint64_t, 3> arguments_of(const ucontext_t& context) {
  const auto& machine = context.uc_mcontext;
#if defined(__x86_64__)
  const auto at = [&](int reg) { return static_cast<std::uint64_t>(machine.gregs[reg]); };
  return {at(REG_RDI), at(REG_RSI), at(REG_RDX)};
#elif defined(__aarch64__)
  return {machine.regs[0], machine.regs[1], machine.regs[2]};
#else
  (void)machine;
  return {};
#endif
}

// A signal handler: async-signal-safe calls only. SIGSYS is blocked in it, so that one more
// violation by the same thread ends the process; those of other threads wait for nobody, but each
// tells its own before it does so.
void tell_violation(int, siginfo_t* info, void* context) {
  const auto number = static_cast<std::size_t>(info->si_syscall);
  Line line;
  line.add(kViolation);
  line.add("forbidden system call ");
  line.add(number < call_names.size() && call_names[number] ? call_names[number] : "unknown");
  const char* before = "(";
  for (const std::uint64_t argument : arguments_of(*static_cast<ucontext_t*>(context))) {
    line.add(before);
    line.add_hex(argument);
    before = ", ";
  }
  line.add("), ended; please report this (process.sandbox = \"off\" goes on without)\n");
  line.write();
  // The violation: no filter allows it (add_signals_and_time()). Reset by SA_RESETHAND, a second
  // thread's would end the process before the first has written its line.
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(SIGSYS, &action, nullptr);
}

void handle_violations() {
  for (std::size_t i = 0; i < call_names.size(); ++i) {
    // Never freed: as long as the process lives a handler may need them.
    if (call_names[i] == nullptr) {
      call_names[i] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, static_cast<int>(i));
    }
  }
  struct sigaction action {};
  action.sa_sigaction = &tell_violation;
  action.sa_flags = SA_SIGINFO;
  if (::sigaction(SIGSYS, &action, nullptr) != 0) throw std::runtime_error("cannot handle SIGSYS");
}

void check(int result, std::string_view what) {
  if (result >= 0) return;
  throw std::runtime_error("seccomp: " + std::string(what) + ": " + std::strerror(-result) +
                           "; set process.sandbox to \"off\" to go on without a sandbox");
}

Table table_for(Duties duties) {
  Table table(duties);
  add_memory_and_threads(table);
  add_signals_and_time(table);
  add_files(table);
  add_network(table);
  add_clocks(table);
  add_sanitizers(table);
  return table;
}

}  // namespace

std::size_t filter_system_calls(Duties duties, Violation violation) {
  if (violation == Violation::kEnds) handle_violations();
  const std::unique_ptr<void, decltype(&seccomp_release)> filter(
      seccomp_init(violation == Violation::kEnds ? SCMP_ACT_TRAP : SCMP_ACT_LOG), &seccomp_release);
  if (!filter) throw std::bad_alloc();
  // Calls of another architecture's are nobody's here.
  check(seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS),
        "attribute");
  check(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "attribute");
  const Table table = table_for(duties | kThisBuild);
  for (const Rule& rule : table.rules()) {
    const int added =
        seccomp_rule_add_array(filter.get(), rule.action, rule.call,
                               static_cast<unsigned>(rule.arguments.size()), rule.arguments.data());
    if (added != -EEXIST) check(added, "rule");  // said already, or more than that
  }
  check(seccomp_load(filter.get()), "this kernel loads no filter");
  return table.rules().size();
}

}  // namespace timeball::server
