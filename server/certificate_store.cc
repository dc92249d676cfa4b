#include "server/certificate_store.h"

#include <openssl/x509.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "common/time/ntp_timestamp.h"

namespace timeball::server {
namespace {

constexpr auto kLook = std::chrono::seconds(10);
constexpr auto kRead = std::chrono::hours(1);

// What is wrong with the certificate's dates, once the time is known; empty: nothing.
std::string date_fault(const TlsCertificate& certificate, const std::string& file,
                       CertificateStore::Now utc) {
  if (!utc) return {};
  const std::int64_t now_s = utc->ns / kNsPerSecond;
  if (certificate.not_after_s() <= now_s) {
    return fmt::format("certificate {} expired at {}. Renew it", file,
                       print_time(X509_get0_notAfter(certificate.leaf())));
  }
  if (certificate.not_before_s() > now_s) {
    return fmt::format("certificate {} is not valid before {}", file,
                       print_time(X509_get0_notBefore(certificate.leaf())));
  }
  return {};
}

}  // namespace

CertificateStore::Versions CertificateStore::versions(const CertificateFiles& files) {
  Versions all;
  const std::array paths{&files.certificate, &files.private_key};
  for (std::size_t i = 0; i < all.size(); ++i) {
    struct stat s {};
    if (::stat(paths[i]->c_str(), &s) != 0) continue;
    all[i] = {s.st_dev, s.st_ino, static_cast<std::uint64_t>(s.st_size),
              s.st_mtim.tv_sec * kNsPerSecond + s.st_mtim.tv_nsec};
  }
  return all;
}

Result<std::shared_ptr<const TlsContext>> CertificateStore::make_context(
    const std::vector<Pair>& pairs, TlsUse use) {
  TlsContext::Certificates certificates;
  for (const Pair& pair : pairs) certificates.push_back(pair.certificate);
  return TlsContext::make(certificates, use);
}

Result<CertificateStore::Loaded> CertificateStore::load(const std::vector<CertificateFiles>& files,
                                                        TlsUse use) {
  Loaded loaded;
  for (const CertificateFiles& each : files) {
    const Versions seen = versions(each);  // first: what changes meanwhile is read again
    auto certificate = TlsCertificate::read(each);
    if (!certificate) return fail(certificate.error().message);
    loaded.pairs.push_back({each, seen, std::move(*certificate)});
  }
  auto context = make_context(loaded.pairs, use);
  if (!context) return fail(context.error().message);
  loaded.context = std::move(*context);
  return loaded;
}

Result<std::unique_ptr<CertificateStore>> CertificateStore::open(
    const std::vector<CertificateFiles>& files, TlsUse use) {
  auto loaded = load(files, use);
  if (!loaded) return fail(loaded.error().message);
  return std::unique_ptr<CertificateStore>(new CertificateStore(std::move(*loaded), use));
}

CertificateStore::CertificateStore(Loaded loaded, TlsUse use)
    : use_(use), pairs_(std::move(loaded.pairs)), contexts_(std::move(loaded.context)) {}

bool CertificateStore::uses(const TlsCertificate& certificate) const {
  return std::ranges::any_of(
      pairs_, [&](const Pair& pair) { return pair.certificate->same_leaf(certificate); });
}

Result<CertificateStore::Loaded> CertificateStore::read(const std::vector<CertificateFiles>& files,
                                                        Now utc) const {
  auto loaded = load(files, use_);
  if (!loaded) return loaded;
  for (const Pair& pair : loaded->pairs) {
    const std::string fault = date_fault(*pair.certificate, pair.files.certificate, utc);
    if (!fault.empty() && !uses(*pair.certificate)) return fail(fault);
  }
  return loaded;
}

void CertificateStore::take(Loaded loaded) {
  for (const Pair& pair : loaded.pairs) reloads_ += uses(*pair.certificate) ? 0 : 1;
  pairs_ = std::move(loaded.pairs);
  contexts_.publish(std::move(loaded.context));
}

void CertificateStore::tick(MonotonicTime at, Now utc) {
  if (looked_at_ && at - *looked_at_ < kLook) return;
  looked_at_ = at;
  const std::uint64_t before = reloads_;
  for (Pair& pair : pairs_) reloads_ += renew(pair, at, utc) ? 1 : 0;
  if (reloads_ == before) return;
  auto context = make_context(pairs_, use_);
  if (!context) return spdlog::error("{}; the certificates in use stay", context.error().message);
  contexts_.publish(std::move(*context));
}

// Whether the pair has another certificate now.
bool CertificateStore::renew(Pair& pair, MonotonicTime at, Now utc) {
  if (!pair.read_at) pair.read_at = at;
  const std::string& file = pair.files.certificate;
  const bool out_of_date = !date_fault(*pair.certificate, file, utc).empty();
  const Versions now = versions(pair.files);
  if (now == pair.seen && at - *pair.read_at < kRead && !(out_of_date && pair.refused.empty())) {
    return false;
  }
  const bool changed = std::exchange(pair.seen, now) != now;
  pair.read_at = at;
  auto certificate = TlsCertificate::read(pair.files);
  if (!certificate) {
    refuse(pair, certificate.error().message + "; the certificate in use stays");
    return false;
  }
  const bool same = (*certificate)->same_leaf(*pair.certificate);
  const std::string fault = date_fault(**certificate, file, utc);
  if (!fault.empty()) {
    refuse(pair, fault + (same ? "; clients refuse it" : "; the certificate in use stays"));
    return false;
  }
  pair.refused.clear();
  if (!changed && same) return false;
  spdlog::info("certificate {}: renewed, {}", file, (*certificate)->subject());
  pair.certificate = std::move(*certificate);
  return true;
}

void CertificateStore::refuse(Pair& pair, const std::string& why) {
  ++failures_;
  if (std::exchange(pair.refused, why) == why) return;  // hour after hour, that is no news
  spdlog::error("{}", why);
}

CertificatesStatus CertificateStore::status() const {
  CertificatesStatus status{{}, reloads_, failures_};
  for (const Pair& pair : pairs_) {
    status.each.push_back(
        {pair.files.certificate, pair.certificate->not_after_s(), !pair.refused.empty()});
  }
  return status;
}

}  // namespace timeball::server
