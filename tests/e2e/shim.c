// Preloaded into the daemon by tests that need what no client can cause: a kernel clock that is
// stepped, one that is steered without being touched, an OpenSSL that fails, protection that does
// not come about, and a record of the calls that make a file durable.
//
// TIMEBALL_SHIM names a file of struct control, mapped shared: the test writes, this reads.
// TIMEBALL_SHIM_LOG names a file that gets one line for each recorded call.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

struct control {
  volatile int64_t clock_offset_s;         // added to CLOCK_REALTIME
  volatile uint32_t fail_export;           // not 0: SSL_export_keying_material fails
  volatile uint32_t fail_encrypt_one_in;   // not 0: one EVP_EncryptUpdate of the daemon's in this many fails
  volatile uint32_t ignore_core_limit;     // not 0: setrlimit(RLIMIT_CORE) does nothing
  volatile uint32_t ignore_dumpable;       // not 0: prctl(PR_SET_DUMPABLE) does nothing
  volatile uint32_t call_chroot;           // not 0: who reads the clock calls chroot(2), too
  volatile uint32_t fake_adjtime;          // not 0: clock_adjtime(2) is recorded, and not made
};

static const struct control kNothing;
static const struct control* control = &kNothing;
static int log_fd = -1;

__attribute__((constructor)) static void set_up(void) {
  const char* path = getenv("TIMEBALL_SHIM");
  const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    void* mapped = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED) control = mapped;
    close(fd);
  }
  const char* log_path = getenv("TIMEBALL_SHIM_LOG");
  if (log_path) log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void record(const char* call, const char* what, const char* to) {
  char line[1200];
  const size_t length = (size_t)snprintf(line, sizeof(line), "%s %s %s\n", call, what, to);
  // dprintf(3) would stat it, too.
  if (log_fd >= 0 && length < sizeof(line)) (void)!write(log_fd, line, length);
}

int clock_gettime(clockid_t clock, struct timespec* t) {
  const int result = (int)syscall(SYS_clock_gettime, clock, t);
  if (control->call_chroot) (void)!chroot("/");
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    t->tv_sec += control->clock_offset_s;
  }
  return result;
}

int clock_adjtime(clockid_t clock, struct timex* t) {
  static long frequency;
  if (!control->fake_adjtime) return (int)syscall(SYS_clock_adjtime, clock, t);
  char modes[24];
  snprintf(modes, sizeof(modes), "%#x", t->modes);
  record("adjtime", modes, "");
  if (t->modes & ADJ_FREQUENCY) frequency = t->freq;
  t->freq = frequency;
  return TIME_OK;
}

int gettimeofday(struct timeval* restrict t, void* restrict zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}

static int sync_and_record(const char* call, int (*real)(int), int fd) {
  char link[64], path[512];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof(path) - 1);
  path[length < 0 ? 0 : length] = 0;
  record(call, path, "");
  return real(fd);
}

int fsync(int fd) { return sync_and_record("fsync", dlsym(RTLD_NEXT, "fsync"), fd); }
int fdatasync(int fd) { return sync_and_record("fsync", dlsym(RTLD_NEXT, "fdatasync"), fd); }

int rename(const char* from, const char* to) {
  int (*real)(const char*, const char*) = dlsym(RTLD_NEXT, "rename");
  record("rename", from, to);
  return real(from, to);
}

static int limit(const char* name, int resource, const struct rlimit* value) {
  int (*real)(int, const struct rlimit*) = dlsym(RTLD_NEXT, name);
  return resource == RLIMIT_CORE && control->ignore_core_limit ? 0 : real(resource, value);
}

int setrlimit(__rlimit_resource_t resource, const struct rlimit* value) { return limit("setrlimit", resource, value); }
int setrlimit64(__rlimit_resource_t resource, const struct rlimit64* value) {
  return limit("setrlimit64", resource, (const struct rlimit*)value);
}

int prctl(int option, ...) {
  va_list list;
  va_start(list, option);
  unsigned long a[4];
  for (int i = 0; i < 4; ++i) a[i] = va_arg(list, unsigned long);
  va_end(list);
  if (option == PR_SET_DUMPABLE && control->ignore_dumpable) return 0;
  return (int)syscall(SYS_prctl, option, a[0], a[1], a[2], a[3]);
}

int SSL_export_keying_material(void* ssl, unsigned char* out, size_t out_length, const char* label,
                               size_t label_length, const unsigned char* context,
                               size_t context_length, int use_context) {
  int (*real)(void*, unsigned char*, size_t, const char*, size_t, const unsigned char*, size_t, int) =
      dlsym(RTLD_NEXT, "SSL_export_keying_material");
  if (control->fail_export) return 0;
  return real(ssl, out, out_length, label, label_length, context, context_length, use_context);
}

// A thread that tells of its chroot(2) takes so long that all others have made theirs.
ssize_t write(int fd, const void* octets, size_t length) {
  if (control->call_chroot && fd == STDERR_FILENO) {
    struct timespec begun, now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &begun);
    do syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    while (now.tv_sec < begun.tv_sec + 2);
  }
  return syscall(SYS_write, fd, octets, length);
}

// Whether the code at this address is the daemon's, not a library's: TLS shall go on.
static int is_daemon(void* address) {
  static const void* base;
  Dl_info info;
  if (!base && dladdr((void*)getauxval(AT_ENTRY), &info)) base = info.dli_fbase;
  return dladdr(address, &info) && info.dli_fbase == base;
}

int EVP_EncryptUpdate(void* context, unsigned char* out, int* out_length, const unsigned char* in,
                      int in_length) {
  static int (*real)(void*, unsigned char*, int*, const unsigned char*, int);
  static uint32_t calls;
  if (!real) real = dlsym(RTLD_NEXT, "EVP_EncryptUpdate");
  const uint32_t one_in = control->fail_encrypt_one_in;
  if (one_in && is_daemon(__builtin_return_address(0)) &&
      __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) % one_in == 0) {
    return 0;
  }
  return real(context, out, out_length, in, in_length);
}
