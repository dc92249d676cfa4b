#include "server/sandbox.h"

#include <spdlog/fmt/fmt.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <stdexcept>
#include <system_error>

#include "server/file.h"
#include "server/process_rights.h"

namespace timeball::server {
namespace {

namespace fs = std::filesystem;
using What = Grant::What;

bool uses(const Config& config, RefclockDriver driver) {
  return std::ranges::count(config.refclocks, driver, &RefclockConfig::driver) != 0;
}

bool is_socket(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

fs::path directory_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

class Grants {
 public:
  // Where the file's name is; and of what is read, for each symbolic link on the way, the
  // neighbourhood of what it leads to: what comes in its place later has the name, not the
  // identity, and as a rule lies in the same directory (certbot), or in one beside that.
  void add(const std::string& file, What what) {
    if (file.empty()) return;
    all_.push_back({directory_of(file), what});
    if (what != What::kRead && what != What::kDevice) return;
    fs::path way;
    for (const fs::path& part : fs::path(file)) {
      way /= part;
      std::error_code unknown;
      if (!fs::is_symlink(way, unknown)) continue;
      const fs::path beside = fs::canonical(way, unknown).parent_path();
      const fs::path above = beside.parent_path();
      const bool wide = what == What::kRead && above.has_relative_path();
      if (!unknown) all_.push_back({wide ? above : beside, what});
    }
  }
  void add_directory(const char* directory, What what) { all_.push_back({directory, what}); }
  std::vector<Grant> take() { return std::move(all_); }

 private:
  std::vector<Grant> all_;
};

void add_etcd(const EtcdConfig& etcd, Grants& grants) {
  for (const std::string* file :
       {&etcd.key_file, &etcd.ca, &etcd.certificate, &etcd.private_key, &etcd.password_file}) {
    if (!file->starts_with(kCredential)) grants.add(*file, What::kRead);
  }
  const char* const credentials = std::getenv("CREDENTIALS_DIRECTORY");
  if (credentials != nullptr) grants.add_directory(credentials, What::kRead);
  // For names: who knows them, and the modules that ask.
  for (const char* directory : {"/etc", "/run/systemd/resolve", "/lib", "/usr/lib"}) {
    grants.add_directory(directory, What::kRead);
  }
}

void add_refclock(const RefclockConfig& clock, Grants& grants) {
  switch (clock.driver) {
    case RefclockDriver::kSystem:
    case RefclockDriver::kGpsd:
    case RefclockDriver::kShm:
      return;
    case RefclockDriver::kSock:
      return grants.add(clock.device, What::kRemove);
    case RefclockDriver::kGnss:
    case RefclockDriver::kPps:
    case RefclockDriver::kPhc:
    case RefclockDriver::kRubidium:
      grants.add(clock.device, What::kDevice);
      grants.add_directory("/dev", What::kDevice);  // a line's pulse has a device of its own
      grants.add_directory("/sys/class", What::kRead);
      return grants.add_directory("/sys/devices", What::kRead);
  }
}

// Capabilities, Landlock and no_new_privs are one thread's.
void require_one_thread() {
  std::error_code unknown;
  const fs::directory_iterator threads("/proc/self/task", unknown);
  if (unknown || std::distance(begin(threads), end(threads)) == 1) return;
  throw std::logic_error("the sandbox is entered too late: there are threads already");
}

}  // namespace

Duties duties_of(const Config& config) {
  using enum RefclockDriver;
  Duties duties = kServes;
  if (!config.ntp.listen.empty()) duties |= kNtp;
  if (!config.ntp.listen.empty() && config.ntp.io == net::IoBackend::kXdp) duties |= kXdp;
  const bool admin = !config.admin.listen.empty() || !config.admin.socket.empty();
  if (config.nts_ke.enabled || admin) duties |= kStreams;
  if (config.keys.provider == KeysProvider::kEtcd || uses(config, kGpsd)) duties |= kConnects;
  if (!config.keys.file.empty()) duties |= kStores;
  for (const RefclockDriver driver : {kGnss, kPps, kPhc, kRubidium, kShm, kSock}) {
    if (uses(config, driver)) duties |= kDevices;
  }
  if (uses(config, kSystem)) duties |= kKernelClock;
  if (config.clock.mode == ClockMode::kSystem && !config.clock.helper.empty()) duties |= kSteers;
  // A device that is a socket is refclock-sim's.
  if (std::ranges::any_of(config.refclocks, is_socket, &RefclockConfig::device)) {
    duties |= kSimulation;
  }
  if (std::getenv("NOTIFY_SOCKET") != nullptr) duties |= kNotifies;
  return duties;
}

std::vector<Grant> grants_of(const Config& config, const std::string& config_path) {
  Grants grants;
  grants.add(config_path, What::kRead);
  if (config.nts_ke.enabled) {
    for (const std::string& file : config.nts_ke.certificates) grants.add(file, What::kRead);
    for (const std::string& file : config.nts_ke.private_keys) grants.add(file, What::kRead);
  }
  grants.add(config.keys.file, What::kReplace);
  if (config.keys.provider == KeysProvider::kEtcd) add_etcd(config.etcd, grants);
  for (const RefclockConfig& clock : config.refclocks) add_refclock(clock, grants);
  if (!uses(config, RefclockDriver::kSystem)) grants.add(config.clock.leap_file, What::kRead);
  const AdminConfig& admin = config.admin;
  for (const std::string* file : {&admin.certificate, &admin.private_key, &admin.token_file}) {
    if (!file->starts_with(kCredential))
      grants.add(*file, What::kRead);  // renewed, or checked anew
  }
  grants.add(admin.socket, What::kRemove);
  grants.add_directory("/proc/self", What::kRead);
  grants.add_directory("/sys/devices/system/cpu", What::kRead);
  return grants.take();
}

bool reaches_beyond(const Config& entered_with, const Config& fresh,
                    const std::string& config_path) {
  if (entered_with.process.sandbox != SandboxMode::kOn) return false;
  const std::vector<Grant> granted = grants_of(entered_with, config_path);
  return std::ranges::any_of(grants_of(fresh, config_path), [&](const Grant& wanted) {
    return std::ranges::none_of(granted, [&](const Grant& grant) {
      const fs::path way = wanted.directory.lexically_relative(grant.directory);
      return !way.empty() && *way.begin() != "..";
    });
  });
}

std::string enter_sandbox(const Config& config, const std::string& config_path) {
  require_one_thread();
  keep_capabilities(0);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    throw std::runtime_error("the kernel refuses no_new_privs");
  }
  if (config.process.sandbox == SandboxMode::kOff) return "off: no capability is left";
  const Duties duties = duties_of(config);
  const bool log = config.process.sandbox == SandboxMode::kLog;
  std::optional<int> landlock;
  // To log what it would refuse Landlock does not know.
  if (!log) landlock = restrict_files(grants_of(config, config_path), (duties & kConnects) != 0);
  const std::size_t rules =
      filter_system_calls(duties, log ? Violation::kLogged : Violation::kEnds);
  return fmt::format("{}: {} rules for system calls{}; {}", log ? "log" : "on", rules,
                     log ? " (broken ones are in the kernel's audit log)" : "",
                     landlock ? fmt::format("Landlock {}", *landlock)
                     : log    ? "no Landlock"
                              : "this kernel has no Landlock: files are guarded by rights alone");
}

}  // namespace timeball::server
