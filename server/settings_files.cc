#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <vector>

#include "server/admin_token.h"
#include "server/file.h"
#include "server/settings_check.h"
#include "server/tls_certificate.h"

namespace timeball::server {
namespace {

// The settings that name a pair of files.
struct PairSettings {
  const char* certificate;
  const char* private_key;
};
constexpr PairSettings kNtsKePair{"nts_ke.certificate", "nts_ke.private_key"};
constexpr PairSettings kAdminPair{"admin.certificate", "admin.private_key"};

using Certificate = std::shared_ptr<const TlsCertificate>;

std::string quoted(const std::string& text) {
  return '"' + text + '"';
}

// Warnings: the time may not be known yet, on an appliance that boots in 1970 or with a clock whose
// battery is dead. A daemon that knows the time says what has expired, and takes up nothing that
// has (server/certificate_store.h).
void check_dates(const std::vector<X509Handle>& chain, const std::string& path,
                 const PairSettings& settings, Draft& draft) {
  for (std::size_t i = 0; i < chain.size(); ++i) {
    const ASN1_TIME* from = X509_get0_notBefore(chain[i].get());
    const ASN1_TIME* until = X509_get0_notAfter(chain[i].get());
    const std::string which =
        i == 0 ? quoted(path) : "certificate " + std::to_string(i + 1) + " in " + quoted(path);
    if (X509_cmp_current_time(until) < 0) {
      draft.warning(settings.certificate,
                    which + " expired at " + print_time(until) +
                        "; renew it, or set this machine's clock if that is wrong");
    } else if (X509_cmp_current_time(from) > 0) {
      draft.warning(settings.certificate,
                    which + " is not valid before " + print_time(from) +
                        "; set this machine's clock, or use a certificate that is valid now");
    }
  }
}

// Whether the server's own certificate stands first.
bool check_order(const std::vector<X509Handle>& chain, EVP_PKEY* key, const std::string& path,
                 const PairSettings& settings, Draft& draft) {
  std::size_t owner = 0;
  while (owner < chain.size() && X509_check_private_key(chain[owner].get(), key) != 1) ++owner;
  ERR_clear_error();
  if (owner == 0 || owner == chain.size()) return true;
  draft.error(settings.certificate, "the server's own certificate stands at place " +
                                        std::to_string(owner + 1) + " in " + quoted(path) +
                                        "; put it first");
  return false;
}

void check_private_key_mode(const std::string& path, const PairSettings& settings, Draft& draft) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || (status.st_mode & 077) == 0) return;
  draft.warning(settings.private_key,
                quoted(path) + " is open to other users of this machine; run chmod 600 " + path);
}

// Null after an error.
Certificate check_pair(const CertificateFiles& files, const PairSettings& settings, Draft& draft) {
  auto chain = read_chain(files.certificate);
  if (chain) {
    check_dates(*chain, files.certificate, settings, draft);
  } else {
    draft.error(settings.certificate, chain.error().message);
  }
  auto key = read_private_key(files.private_key);
  if (key) {
    check_private_key_mode(files.private_key, settings, draft);
  } else {
    draft.error(settings.private_key, key.error().message);
  }
  if (!chain || !key || !check_order(*chain, key->get(), files.certificate, settings, draft))
    return nullptr;
  auto made = TlsCertificate::make(std::move(*chain), std::move(*key), files);
  if (!made) {
    draft.error(settings.private_key, made.error().message);
    return nullptr;
  }
  if ((*made)->names().empty()) {
    draft.warning(settings.certificate,
                  quoted(files.certificate) +
                      " has no subject alternative name, so clients will refuse it; "
                      "get one that names this server's DNS names or addresses");
  }
  return *made;
}

// Whether clients always get `first`, which goes before.
bool hides(const TlsCertificate& first, const TlsCertificate& other) {
  return first.key_type() == other.key_type() &&
         std::ranges::includes(first.names(), other.names());
}

void check_certificates(Draft& draft) {
  const auto& paths = draft.loaded.config.nts_ke.certificates;
  const auto& keys = draft.loaded.config.nts_ke.private_keys;
  if (draft.refused(kNtsKePair.certificate) || draft.refused(kNtsKePair.private_key) ||
      paths.size() != keys.size()) {
    return;
  }
  std::vector<Certificate> made;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    made.push_back(paths[i].empty() || keys[i].empty()
                       ? nullptr
                       : check_pair({paths[i], keys[i]}, kNtsKePair, draft));
    for (std::size_t j = 0; made[i] && j < i; ++j) {
      if (!made[j] || !hides(*made[j], *made[i])) continue;
      draft.warning(kNtsKePair.certificate,
                    quoted(paths[i]) + " is never used: " + quoted(paths[j]) +
                        " has its names and the same type of key; remove one");
      break;
    }
  }
}

// Whose the token's file is, is for the daemon to judge.
void check_admin_files(Draft& draft) {
  const AdminConfig& admin = draft.loaded.config.admin;
  if (admin.listen.empty()) return;
  if (!admin.certificate.empty() && !admin.private_key.empty()) {
    check_pair({admin.certificate, admin.private_key}, kAdminPair, draft);
  }
  const std::string& token = admin.token_file;
  if (token.empty() || token.starts_with(kCredential)) return;
  auto text = read_whole_file(token);
  if (!text) return draft.error("admin.token_file", text.error().message);
  if (const auto parsed = AdminToken::parse(*text); !parsed) {
    draft.error("admin.token_file", quoted(token) + ": " + parsed.error().message);
  }
  OPENSSL_cleanse(text->data(), text->size());
}

void check_key_directory(Draft& draft) {
  const std::string& file = draft.loaded.config.keys.file;
  if (file.empty() || draft.refused("keys.file")) return;
  auto directory = std::filesystem::path(file).parent_path();
  if (directory.empty()) directory = ".";
  std::error_code unused;
  if (std::filesystem::is_directory(file, unused)) {
    draft.error("keys.file", quoted(file) + " is a directory; name a file in it");
  } else if (!std::filesystem::is_directory(directory, unused)) {
    draft.error("keys.file", "the directory " + quoted(directory.string()) +
                                 " is not there; run install -d -m 700 " + directory.string());
  }
}

// What they hold is for EtcdKeyProvider to judge.
void check_etcd_files(Draft& draft) {
  const EtcdConfig& etcd = draft.loaded.config.etcd;
  for (const auto& [path, file] :
       {std::pair("etcd.key_file", &etcd.key_file), std::pair("etcd.ca", &etcd.ca),
        std::pair("etcd.certificate", &etcd.certificate),
        std::pair("etcd.private_key", &etcd.private_key),
        std::pair("etcd.password_file", &etcd.password_file)}) {
    if (file->empty() || file->starts_with(kCredential) || draft.refused(path)) continue;
    auto text = read_whole_file(*file);
    if (!text) draft.error(path, text.error().message);
    if (text) OPENSSL_cleanse(text->data(), text->size());
  }
}

}  // namespace

void check_files(Draft& draft) {
  check_key_directory(draft);
  check_admin_files(draft);
  if (draft.loaded.config.keys.provider == KeysProvider::kEtcd) check_etcd_files(draft);
  if (draft.loaded.config.nts_ke.enabled) check_certificates(draft);
}

}  // namespace timeball::server
