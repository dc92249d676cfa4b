#include "server/landlock.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "server/file.h"

namespace timeball::server {
namespace {

// The interface's newer versions, which Debian 12's header does not have.
constexpr std::uint64_t kTruncate = 1 << 14;     // version 3
constexpr std::uint64_t kIoctlDevice = 1 << 15;  // version 5
constexpr std::uint64_t kBindTcp = 1 << 0;       // version 4
constexpr std::uint64_t kConnectTcp = 1 << 1;
constexpr std::uint64_t kScopeAbstractSockets = 1 << 0;  // version 6
constexpr std::uint64_t kScopeSignals = 1 << 1;

struct Ruleset {
  std::uint64_t files;
  std::uint64_t network;
  std::uint64_t scopes;
};

constexpr std::uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kWrite = LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;

// By version 1 to 3.
constexpr std::uint64_t kVersion1 = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

Ruleset all_of(int version, bool connects) {
  Ruleset all{kVersion1, 0, 0};
  if (version >= 2) all.files |= LANDLOCK_ACCESS_FS_REFER;
  if (version >= 3) all.files |= kTruncate;
  if (version >= 4) all.network = connects ? kBindTcp : kBindTcp | kConnectTcp;
  if (version >= 5) all.files |= kIoctlDevice;
  if (version >= 6) all.scopes = kScopeAbstractSockets | kScopeSignals;
  return all;
}

// Of the structure an older kernel knows the beginning only.
std::size_t size_for(int version) {
  return version >= 6   ? sizeof(Ruleset)
         : version >= 4 ? offsetof(Ruleset, scopes)
                        : offsetof(Ruleset, network);
}

std::uint64_t access_of(Grant::What what) {
  switch (what) {
    case Grant::What::kRead:
      return kRead;
    case Grant::What::kReplace:
      return kRead | kWrite | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE;
    case Grant::What::kRemove:
      return LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE;
    case Grant::What::kDevice:
      return kRead | kWrite | kIoctlDevice;
  }
  return 0;
}

std::runtime_error cannot(const std::string& what) {
  return std::runtime_error("Landlock: " + what + ": " + std::strerror(errno) +
                            "; set process.sandbox to \"off\" to go on without a sandbox");
}

void add(int ruleset, const Grant& grant, std::uint64_t handled) {
  const Descriptor directory(::open(grant.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.open()) return;
  landlock_path_beneath_attr rule{};
  rule.allowed_access = access_of(grant.what) & handled;
  rule.parent_fd = directory.get();
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
    throw cannot(grant.directory.string());
  }
}

}  // namespace

std::optional<int> restrict_files(const std::vector<Grant>& grants, bool connects) {
  const auto version = static_cast<int>(
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION));
  if (version < 1) return std::nullopt;  // not built in, or not among the modules of lsm=
  const Ruleset handled = all_of(version, connects);
  const Descriptor ruleset(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, size_for(version), 0)));
  if (!ruleset.open()) throw cannot("no ruleset");
  for (const Grant& grant : grants) add(ruleset.get(), grant, handled.files);
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) throw cannot("refused");
  return version;
}

}  // namespace timeball::server
