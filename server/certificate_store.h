// The certificate in use, which follows its files without a restart: as certbot and its kin renew
// them, by new files or by other targets of symbolic links. A file that cannot be used, is half
// written, does not fit its key or has expired changes nothing: the old one goes on, the log says
// why, and the metric too.
//
// The files are looked at every ten seconds and read when they have changed, or an hour has passed.
// Sessions already begun keep the certificate that they began with.
//
// Thread rules: control calls everything; contexts() may be read by any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/base/published.h"
#include "common/time/time_scales.h"
#include "server/tls_context.h"

namespace timeball::server {

struct CertificateStatus {
  std::int64_t not_after_s = 0;  // of the one in use, seconds since 1970
  std::uint64_t reloads = 0;
  std::uint64_t failures = 0;
  bool refused = false;  // what the files hold now cannot be used
};

class CertificateStore {
 public:
  static Result<std::unique_ptr<CertificateStore>> open(const std::string& certificate,
                                                        const std::string& private_key);

  const Published<TlsContext>& contexts() const { return contexts_; }

  // utc: now, once it is known; without it nothing is held to have expired.
  using Now = std::optional<UtcTime>;
  void tick(MonotonicTime at, Now utc);

  // In two steps, for a reload of more than the certificate: what the files hold, if it can be
  // used; and taking it.
  using Context = std::shared_ptr<const TlsContext>;
  static Result<Context> read(const std::string& certificate, const std::string& private_key,
                              Now utc);
  void take(Context context, const std::string& certificate, const std::string& private_key);

  CertificateStatus status() const;

 private:
  // What tells one version of a file from another.
  struct Version {
    std::uint64_t device = 0, inode = 0, size = 0;
    std::int64_t modified_ns = 0;
    bool operator==(const Version&) const = default;
  };
  using Versions = std::array<Version, 2>;

  CertificateStore(Context context, std::string certificate, std::string private_key);
  Versions versions() const;
  void reload(Now utc, bool changed);

  std::string certificate_;
  std::string private_key_;
  Published<TlsContext> contexts_;
  Versions seen_;  // when they were last read
  std::optional<MonotonicTime> read_at_, looked_at_;
  std::uint64_t reloads_ = 0;
  std::uint64_t failures_ = 0;
  std::string refused_;  // why
};

}  // namespace timeball::server
