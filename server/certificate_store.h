// The certificates in use, each of which follows its files without a restart: as certbot and its
// kin renew them, by new files or by other targets of symbolic links. Files that cannot be used,
// are half written, do not fit each other, or hold a certificate that has expired or is not valid
// yet, change nothing: the old one goes on, the log says why, and the metric too. One certificate's
// trouble does not keep another from being renewed.
//
// The files are looked at every ten seconds and read when they have changed, or an hour has passed,
// or the certificate in use turns out to be out of date. Dates count only once the time is known.
// Sessions already begun keep the certificate that they began with.
//
// Thread rules: control calls everything; contexts() may be read by any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/published.h"
#include "common/time/time_scales.h"
#include "server/tls_certificate.h"
#include "server/tls_context.h"

namespace timeball::server {

struct CertificateStatus {
  std::string file;              // of the chain
  std::int64_t not_after_s = 0;  // of the one in use, seconds since 1970
  bool refused = false;          // what the files hold now cannot be used
};

struct CertificatesStatus {
  std::vector<CertificateStatus> each;
  std::uint64_t reloads = 0;  // of all
  std::uint64_t failures = 0;
};

class CertificateStore {
  // What tells one version of a file from another.
  struct Version {
    std::uint64_t device = 0, inode = 0, size = 0;
    std::int64_t modified_ns = 0;
    bool operator==(const Version&) const = default;
  };
  using Versions = std::array<Version, 2>;
  struct Pair {
    CertificateFiles files;
    Versions seen;  // when they were last read
    std::shared_ptr<const TlsCertificate> certificate;
    std::optional<MonotonicTime> read_at = std::nullopt;
    std::string refused = {};  // why
  };

 public:
  // files: at least one pair. Reads no clock: what has expired is used, and said at the first
  // tick() that knows the time.
  static Result<std::unique_ptr<CertificateStore>> open(const std::vector<CertificateFiles>& files,
                                                        TlsUse use = TlsUse::kNtsKe);

  const Published<TlsContext>& contexts() const { return contexts_; }

  // utc: now, once it is known; without it nothing is held to have expired.
  using Now = std::optional<UtcTime>;
  void tick(MonotonicTime at, Now utc);

  // In two steps, for a reload of more than the certificates: what the files hold, if all of it can
  // be used; and taking it. A certificate in use that has expired refuses nothing.
  struct Loaded {
    std::vector<Pair> pairs;
    std::shared_ptr<const TlsContext> context;
  };
  Result<Loaded> read(const std::vector<CertificateFiles>& files, Now utc) const;
  void take(Loaded loaded);

  CertificatesStatus status() const;

 private:
  CertificateStore(Loaded loaded, TlsUse use);
  static Result<Loaded> load(const std::vector<CertificateFiles>& files, TlsUse use);
  static Versions versions(const CertificateFiles& files);
  static Result<std::shared_ptr<const TlsContext>> make_context(const std::vector<Pair>& pairs,
                                                                TlsUse use);
  bool uses(const TlsCertificate& certificate) const;
  bool renew(Pair& pair, MonotonicTime at, Now utc);
  void refuse(Pair& pair, const std::string& why);

  const TlsUse use_;
  std::vector<Pair> pairs_;
  Published<TlsContext> contexts_;
  std::optional<MonotonicTime> looked_at_;
  std::uint64_t reloads_ = 0;
  std::uint64_t failures_ = 0;
};

}  // namespace timeball::server
