#include "server/certificate_store.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <utility>

#include "common/time/ntp_timestamp.h"

namespace timeball::server {
namespace {

constexpr auto kLook = std::chrono::seconds(10);
constexpr auto kRead = std::chrono::hours(1);

}  // namespace

Result<CertificateStore::Context> CertificateStore::read(const std::string& certificate,
                                                         const std::string& private_key, Now utc) {
  auto context = TlsContext::make(certificate, private_key);
  if (context && utc && (*context)->not_after_s() <= utc->ns / kNsPerSecond) {
    return fail("certificate " + certificate + " has expired. Renew it");
  }
  return context;
}

Result<std::unique_ptr<CertificateStore>> CertificateStore::open(const std::string& certificate,
                                                                 const std::string& private_key) {
  auto context = read(certificate, private_key, std::nullopt);
  if (!context) return tl::unexpected(context.error());
  return std::unique_ptr<CertificateStore>(
      new CertificateStore(std::move(*context), certificate, private_key));
}

CertificateStore::CertificateStore(Context context, std::string certificate,
                                   std::string private_key)
    : certificate_(std::move(certificate)),
      private_key_(std::move(private_key)),
      contexts_(std::move(context)),
      seen_(versions()) {}

CertificateStore::Versions CertificateStore::versions() const {
  Versions all;
  const std::array paths{&certificate_, &private_key_};
  for (std::size_t i = 0; i < all.size(); ++i) {
    struct stat s {};
    if (::stat(paths[i]->c_str(), &s) != 0) continue;
    all[i] = {s.st_dev, s.st_ino, static_cast<std::uint64_t>(s.st_size),
              s.st_mtim.tv_sec * kNsPerSecond + s.st_mtim.tv_nsec};
  }
  return all;
}

void CertificateStore::tick(MonotonicTime at, Now utc) {
  if (!read_at_) read_at_ = at;
  if (looked_at_ && at - *looked_at_ < kLook) return;
  looked_at_ = at;
  const Versions now = versions();
  if (now == seen_ && at - *read_at_ < kRead) return;
  const bool changed = std::exchange(seen_, now) != now;
  read_at_ = at;
  reload(utc, changed);
}

void CertificateStore::reload(Now utc, bool changed) {
  auto context = read(certificate_, private_key_, utc);
  if (!context) {
    ++failures_;
    // The same, hour after hour, is no news.
    if (std::exchange(refused_, context.error().message) == context.error().message) return;
    return spdlog::error("{}; the certificate in use stays", refused_);
  }
  refused_.clear();
  if (!changed && (*context)->same_certificate(*contexts_.current())) return;
  spdlog::info("certificate {}: renewed, {}", certificate_, (*context)->subject());
  ++reloads_;
  contexts_.publish(std::move(*context));
}

void CertificateStore::take(Context context, const std::string& certificate,
                            const std::string& private_key) {
  certificate_ = certificate;
  private_key_ = private_key;
  seen_ = versions();
  refused_.clear();
  reloads_ += context->same_certificate(*contexts_.current()) ? 0 : 1;
  contexts_.publish(std::move(context));
}

CertificateStatus CertificateStore::status() const {
  return {contexts_.current()->not_after_s(), reloads_, failures_, !refused_.empty()};
}

}  // namespace timeball::server
