#include "server/process_rights.h"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace timeball::server {
namespace {

std::runtime_error cannot(const std::string& what) {
  return std::runtime_error("cannot " + what + ": " + std::strerror(errno) +
                            "; start as that user instead, or set process.user to \"root\"");
}

gid_t group_of(const std::string& name) {
  const group* const found = ::getgrnam(name.c_str());
  if (found != nullptr) return found->gr_gid;
  throw std::runtime_error("process.group: there is no group \"" + name +
                           "\"; make it (addgroup --system " + name + "), or name another");
}

using CapabilitySets = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

CapabilitySets capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  CapabilitySets sets{};
  if (::syscall(SYS_capget, &header, sets.data()) != 0) throw cannot("read the capabilities");
  return sets;
}

// No more than these, and to bind: what systemd's units leave, whose filters have no capset. The
// sandbox has no bind(2) to use that with, and no execve(2) to inherit by.
bool no_more_than(const CapabilitySets& sets, Capabilities kept) {
  return (sets[0].permitted & ~(kept | capability(CAP_NET_BIND_SERVICE))) == 0 &&
         sets[1].permitted == 0;
}

}  // namespace

std::optional<Account> account_to_become(const ProcessConfig& config) {
  if (::geteuid() != 0) return std::nullopt;
  const passwd* const found = ::getpwnam(config.user.c_str());
  if (found == nullptr) {
    throw std::runtime_error("process.user: there is no user \"" + config.user +
                             "\" for this daemon to become; make it (adduser --system --group " +
                             config.user + "), or name another (\"root\": it stays root)");
  }
  Account account{config.user, found->pw_uid, found->pw_gid};
  if (!config.group.empty()) account.group = group_of(config.group);
  return account;
}

void become(const std::optional<Account>& account, Capabilities kept) {
  if (account && account->user != 0) {
    if (::prctl(PR_SET_KEEPCAPS, 1) != 0 ||
        ::initgroups(account->name.c_str(), account->group) != 0 ||
        ::setresgid(account->group, account->group, account->group) != 0 ||
        ::setresuid(account->user, account->user, account->user) != 0) {
      throw cannot("become the user " + account->name);
    }
  }
  keep_capabilities(kept);
}

// The inheritable ones go, and with them the ambient ones.
void keep_capabilities(Capabilities kept) {
  CapabilitySets sets = capabilities();
  const bool harmless = no_more_than(sets, kept);
  for (std::size_t i = 0; i < sets.size(); ++i) {
    sets[i].permitted &= static_cast<std::uint32_t>(kept >> (32 * i));
    sets[i].effective = sets[i].permitted;
    sets[i].inheritable = 0;
  }
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  if (::syscall(SYS_capset, &header, sets.data()) != 0 && !harmless) {
    throw cannot("drop capabilities");
  }
}

void raise_descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace timeball::server
