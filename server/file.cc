#include "server/file.h"

#include <fcntl.h>
#include <spdlog/fmt/fmt.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace timeball::server {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFile = 1 << 20;

tl::unexpected<Error> fail_errno() {
  return fail(std::strerror(errno));
}

Result<void> write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno();
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<void> write_temporary(const fs::path& path, std::string_view text, mode_t mode) {
  // A temporary file left by a crash is ours to remove; O_EXCL then follows nobody's link.
  ::unlink(path.c_str());
  const Descriptor file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!file.open() || ::fchmod(file.get(), mode) != 0) return fail_errno();
  if (auto written = write_all(file.get(), text); !written) return written;
  if (::fsync(file.get()) != 0) return fail_errno();
  return {};
}

Result<void> sync_directory_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  const Descriptor directory(
      ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.open() || ::fsync(directory.get()) != 0) return fail_errno();
  return {};
}

Result<void> check_protection(const struct stat& status, const std::string& path) {
  if (status.st_uid != ::geteuid()) {
    return fail(fmt::format("it belongs to user {}, and this process runs as {}. chown it",  //
                            status.st_uid, ::geteuid()));
  }
  if ((status.st_mode & 077) == 0) return {};
  return fail(
      fmt::format("others may use it (mode {:04o}). Consider the keys known to them: move "
                  "it away to make new ones, or, if you are sure, chmod 600 {}",
                  status.st_mode & 07777, path));
}

Result<void> check_file(int fd, const std::string& path, std::size_t most, Protection protection) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_errno();
  if (!S_ISREG(status.st_mode)) {
    return fail("it is not a regular file. Name a file of its own for the keys");
  }
  if (status.st_size > static_cast<off_t>(most)) return fail("it is too long for a key file");
  return protection == Protection::kPrivate ? check_protection(status, path) : Result<void>();
}

}  // namespace

Result<std::string> read_whole_file(const std::string& path) {
  const auto why = [&] {
    return fail("cannot read \"" + path + "\": " + std::strerror(errno) +
                "; check the name and the rights of the file");
  };
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Closer> file(std::fopen(path.c_str(), "re"));
  if (!file) return why();
  std::string text(kMaxFile + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get())) return why();
  if (text.size() > kMaxFile) {
    return fail("\"" + path + "\" is longer than 1 MiB; is it the right file?");
  }
  return text;
}

fs::path temporary_name(const fs::path& path) {
  return path.string() + ".tmp";
}

Result<void> replace_file(const fs::path& path, std::string_view text, mode_t mode) {
  const fs::path temporary = temporary_name(path);
  Result<void> done = write_temporary(temporary, text, mode);
  if (done && ::rename(temporary.c_str(), path.c_str()) != 0) done = fail_errno();
  if (done) return sync_directory_of(path);
  ::unlink(temporary.c_str());
  return done;
}

Result<std::optional<SecretText>> read_key_file(const std::string& path, std::size_t most,
                                                Protection protection) {
  // O_NONBLOCK: a FIFO in its place must not hang the daemon.
  const Descriptor file(
      ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.open()) {
    if (errno == ENOENT) return std::nullopt;
    if (errno == ELOOP) return fail("it is a symbolic link. Name the file itself");
    return fail_errno();
  }
  if (auto safe = check_file(file.get(), path, most, protection); !safe) {
    return fail(safe.error().message);
  }
  SecretText content(most + 1, '\0');
  std::size_t size = 0;
  while (size < content.size()) {
    const ssize_t n = ::read(file.get(), content.data() + size, content.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno();
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  content.resize(size);  // what is cut off was never written to
  return content;
}

Result<SecretText> read_secret(const char* setting, const std::string& name, std::size_t most) {
  std::string path = name;
  Protection protection = Protection::kPrivate;
  if (name.starts_with(kCredential)) {
    const char* directory = std::getenv("CREDENTIALS_DIRECTORY");
    if (directory == nullptr) {
      return fail(
          fmt::format("{}: systemd has given this process no credentials; write "
                      "LoadCredential= or name a file",
                      setting));
    }
    path = std::string(directory) + '/' + name.substr(kCredential.size());
    protection = Protection::kAnybodys;
  }
  auto text = read_key_file(path, most, protection);
  if (!text) return fail(fmt::format("{} {}: {}", setting, path, text.error().message));
  if (!*text) return fail(fmt::format("{} {} is not there", setting, path));
  return std::move(**text);
}

}  // namespace timeball::server
