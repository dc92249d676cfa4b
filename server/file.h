// Files that must be found whole after a crash: keys and certificates.
//
// Cold paths only; any thread, one writer per path.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/base/secret_memory.h"

namespace timeball::server {

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }  // it closes no more

 private:
  int fd_;
};

// A whole file, up to 1 MiB, which no configuration or certificate reaches. The error names the
// file and says what to do.
Result<std::string> read_whole_file(const std::string& path);

// Where replace_file() writes first: beside the file, under a name that only it uses.
std::filesystem::path temporary_name(const std::filesystem::path& path);

// Puts the text in the file's place, whole or not at all, on the disk when it returns: a new file,
// synchronised, renamed over the old one, the directory synchronised. mode: as chmod(2), whatever
// the umask. Follows no link. The error is the system's reason, without the path.
Result<void> replace_file(const std::filesystem::path& path, std::string_view text, mode_t mode);

// What a file of keys must be. kPrivate: this user's own, closed to group and others. kAnybodys:
// somebody else sees to that, as systemd does to credentials.
enum class Protection : std::uint8_t { kPrivate, kAnybodys };

// A whole file of keys, or nothing when there is none. Errors, without the path: it is longer than
// most, no regular file, a symbolic link, not protected as it must be.
Result<std::optional<SecretText>> read_key_file(const std::string& path, std::size_t most,
                                                Protection protection = Protection::kPrivate);

// What the name of a file of secrets may begin with: the rest is that of a systemd credential.
inline constexpr std::string_view kCredential = "credential:";

// A file of secrets that must be there, or a systemd credential. The error names setting and path.
Result<SecretText> read_secret(const char* setting, const std::string& name, std::size_t most);

}  // namespace timeball::server
