#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include "common/base/openssl_handle.h"
#include "server/settings_check.h"

namespace timeball::server {
namespace {

using X509Ptr = OpenSsl<X509, X509_free>;
using PkeyPtr = OpenSsl<EVP_PKEY, EVP_PKEY_free>;
using BioPtr = OpenSsl<BIO, BIO_free>;
using NamesPtr = OpenSsl<GENERAL_NAMES, GENERAL_NAMES_free>;

constexpr std::size_t kMaxFile = 1 << 20;

std::string quoted(const std::string& text) {
  return '"' + text + '"';
}

BioPtr reader(const std::string& pem) {
  return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// Every certificate of a PEM file, in its order.
Result<std::vector<X509Ptr>> parse_chain(const std::string& pem, const std::string& path) {
  const BioPtr bio = reader(pem);
  std::vector<X509Ptr> chain;
  ERR_clear_error();
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    chain.emplace_back(certificate);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) {
    return fail("certificate " + std::to_string(chain.size() + 1) + " in " + quoted(path) +
                " is damaged; copy the PEM file again");
  }
  if (chain.empty()) {
    return fail(quoted(path) +
                " holds no certificate; it must be PEM (-----BEGIN CERTIFICATE-----)");
  }
  return chain;
}

// OpenSSL asks for a passphrase: the daemon has nobody to ask.
int refuse_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

Result<PkeyPtr> parse_private_key(const std::string& pem, const std::string& path) {
  const BioPtr bio = reader(pem);
  bool asked = false;
  PkeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, refuse_passphrase, &asked));
  ERR_clear_error();
  if (key) return key;
  if (asked) {
    return fail(quoted(path) +
                " is encrypted; write it without a passphrase: openssl pkey -in OLD -out NEW");
  }
  return fail(quoted(path) + " holds no private key; it must be PEM (-----BEGIN PRIVATE KEY-----)");
}

// "2026-03-01 12:00:00 UTC".
std::string print_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable date";
  char text[32];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return std::string(text, length);
}

void check_dates(const std::vector<X509Ptr>& chain, Draft& draft) {
  static const std::string kPath = "nts_ke.certificate";
  for (std::size_t i = 0; i < chain.size(); ++i) {
    const ASN1_TIME* from = X509_get0_notBefore(chain[i].get());
    const ASN1_TIME* until = X509_get0_notAfter(chain[i].get());
    const std::string which =
        i == 0 ? "the certificate" : "certificate " + std::to_string(i + 1) + " of the chain";
    if (X509_cmp_current_time(until) < 0) {
      draft.error(kPath, which + " expired at " + print_time(until) +
                             "; renew it, or set this machine's clock if that is wrong");
    } else if (X509_cmp_current_time(from) > 0) {
      // An appliance may boot in 1970: the clock is as likely wrong as the certificate.
      draft.warning(kPath,
                    which + " is not valid before " + print_time(from) +
                        "; set this machine's clock, or use a certificate that is valid now");
    }
  }
}

void check_names(X509* certificate, Draft& draft) {
  const NamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (names) return;
  draft.warning("nts_ke.certificate",
                "the certificate has no subject alternative name, so clients will refuse it; "
                "get one that names this server's DNS names or addresses");
}

void check_match(const std::vector<X509Ptr>& chain, EVP_PKEY* key, Draft& draft) {
  std::size_t owner = 0;
  while (owner < chain.size() && X509_check_private_key(chain[owner].get(), key) != 1) ++owner;
  ERR_clear_error();
  if (owner == 0) return;
  const NtsKeConfig& nts_ke = draft.loaded.config.nts_ke;
  if (owner < chain.size()) {
    draft.error("nts_ke.certificate", "the server's own certificate stands at place " +
                                          std::to_string(owner + 1) + " in " +
                                          quoted(nts_ke.certificate) + "; put it first");
    return;
  }
  draft.error("nts_ke.private_key",
              quoted(nts_ke.private_key) + " is not the key of the certificate in " +
                  quoted(nts_ke.certificate) + "; name the two files that were made together");
}

void check_private_key_mode(const std::string& path, Draft& draft) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || (status.st_mode & 077) == 0) return;
  draft.warning("nts_ke.private_key",
                quoted(path) + " is open to other users of this machine; run chmod 600 " + path);
}

std::vector<X509Ptr> check_certificate(Draft& draft) {
  static const std::string kPath = "nts_ke.certificate";
  const std::string& path = draft.loaded.config.nts_ke.certificate;
  if (path.empty() || draft.refused(kPath)) return {};
  const auto pem = read_whole_file(path);
  auto chain = pem ? parse_chain(*pem, path) : tl::unexpected(pem.error());
  if (!chain) {
    draft.error(kPath, chain.error().message);
    return {};
  }
  check_dates(*chain, draft);
  check_names(chain->front().get(), draft);
  return std::move(*chain);
}

PkeyPtr check_private_key(Draft& draft) {
  static const std::string kPath = "nts_ke.private_key";
  const std::string& path = draft.loaded.config.nts_ke.private_key;
  if (path.empty() || draft.refused(kPath)) return nullptr;
  auto pem = read_whole_file(path);
  auto key = pem ? parse_private_key(*pem, path) : tl::unexpected(pem.error());
  if (pem) OPENSSL_cleanse(pem->data(), pem->size());
  if (!key) {
    draft.error(kPath, key.error().message);
    return nullptr;
  }
  check_private_key_mode(path, draft);
  return std::move(*key);
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

Result<std::string> read_whole_file(const std::string& path) {
  const auto why = [&] {
    return fail("cannot read " + quoted(path) + ": " + std::strerror(errno) +
                "; check the name and the rights of the file");
  };
  const std::unique_ptr<std::FILE, OpenSslDeleter<std::fclose>> file(
      std::fopen(path.c_str(), "re"));
  if (!file) return why();
  std::string text(kMaxFile + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get())) return why();
  if (text.size() > kMaxFile) {
    return fail(quoted(path) + " is longer than 1 MiB; is it the right file?");
  }
  return text;
}

void check_files(Draft& draft) {
  check_key_directory(draft);
  if (draft.loaded.config.keys.provider == KeysProvider::kEtcd) check_etcd_files(draft);
  if (!draft.loaded.config.nts_ke.enabled) return;
  const auto chain = check_certificate(draft);
  const auto key = check_private_key(draft);
  if (!chain.empty() && key) check_match(chain, key.get(), draft);
}

}  // namespace timeball::server
