#include "server/lab_certificate.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <ctime>
#include <string_view>

#include "common/base/openssl_handle.h"
#include "common/time/ntp_timestamp.h"
#include "server/file.h"

namespace timeball::server {
namespace {

namespace fs = std::filesystem;

using Key = OpenSsl<EVP_PKEY, EVP_PKEY_free>;
using Certificate = OpenSsl<X509, X509_free>;
using Bio = OpenSsl<BIO, BIO_free_all>;

constexpr mode_t kSecretMode = 0600;
constexpr mode_t kPublicMode = 0644;

struct Authority {
  Key key;
  Certificate certificate;
  bool reused = false;
};

tl::unexpected<Error> fail_openssl(const std::string& doing) {
  const char* reason = ERR_reason_error_string(ERR_get_error());
  return fail("OpenSSL failed " + doing + ": " + (reason != nullptr ? reason : "no reason given"));
}

Certificate read_certificate(const fs::path& path) {
  const Bio bio(BIO_new_file(path.c_str(), "r"));
  return Certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr);
}

Key read_key(const fs::path& path) {
  const Bio bio(BIO_new_file(path.c_str(), "r"));
  return Key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr) : nullptr);
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(length)};
}

std::string pem(X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_X509(bio.get(), certificate) != 1) return {};
  return text_of(bio.get());
}

std::string pem(EVP_PKEY* key) {
  const Bio bio(BIO_new(BIO_s_secmem()));
  if (!bio ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return {};
  return text_of(bio.get());
}

bool is_dns_name(std::string_view name) {
  if (name.starts_with("*.")) name.remove_prefix(2);
  if (name.empty() || name.size() > 253) return false;
  while (!name.empty()) {
    const std::string_view label = name.substr(0, name.find('.'));
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-')
      return false;
    if (!std::all_of(label.begin(), label.end(), [](unsigned char c) {
          return c < 0x80 && (std::isalnum(c) != 0 || c == '-');
        }))
      return false;
    name.remove_prefix(label.size());
    if (name == ".") return false;
    if (!name.empty()) name.remove_prefix(1);
  }
  return true;
}

Result<void> check_hosts(const std::vector<std::string>& hosts) {
  for (const std::string& host : hosts) {
    const OpenSsl<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free> address(a2i_IPADDRESS(host.c_str()));
    ERR_clear_error();
    if (!address && !is_dns_name(host))
      return fail("\"" + host +
                  "\" is neither an IP address nor a DNS name (letters, digits, hyphens and dots; "
                  "international names in their xn-- form)");
  }
  return {};
}

bool add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509V3_set_ctx_nodb(&context);
  const OpenSsl<X509_EXTENSION, X509_EXTENSION_free> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_alternative_names(X509* certificate, const std::vector<std::string>& hosts) {
  const OpenSsl<GENERAL_NAMES, GENERAL_NAMES_free> names(sk_GENERAL_NAME_new_null());
  if (!names) return false;
  for (const std::string& host : hosts) {
    OpenSsl<GENERAL_NAME, GENERAL_NAME_free> name(GENERAL_NAME_new());
    if (!name) return false;
    if (ASN1_OCTET_STRING* address = a2i_IPADDRESS(host.c_str()); address != nullptr) {
      GENERAL_NAME_set0_value(name.get(), GEN_IPADD, address);
    } else {
      ASN1_IA5STRING* dns = ASN1_IA5STRING_new();
      if (dns == nullptr || ASN1_STRING_set(dns, host.data(), static_cast<int>(host.size())) != 1) {
        ASN1_IA5STRING_free(dns);
        return false;
      }
      GENERAL_NAME_set0_value(name.get(), GEN_DNS, dns);
    }
    if (sk_GENERAL_NAME_push(names.get(), name.get()) == 0) return false;
    static_cast<void>(name.release());  // the stack owns it now
  }
  return X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, 0) == 1;
}

std::time_t seconds(UtcTime t) {
  return static_cast<std::time_t>(t.ns / kNsPerSecond);
}

// Version, serial number, names, key and validity: everything but extensions and signature.
Certificate start_certificate(EVP_PKEY* key, const std::string& common_name, UtcTime from,
                              UtcTime to) {
  Certificate certificate(X509_new());
  std::array<unsigned char, 16> serial{};
  if (!certificate || RAND_bytes(serial.data(), serial.size()) != 1) return nullptr;
  serial[0] = static_cast<unsigned char>((serial[0] & 0x3f) | 0x40);  // positive, of full length
  const OpenSsl<BIGNUM, BN_free> number(BN_bin2bn(serial.data(), serial.size(), nullptr));
  X509* c = certificate.get();
  X509_NAME* subject = X509_get_subject_name(c);
  const bool ok =
      number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(c)) != nullptr &&
      X509_set_version(c, X509_VERSION_3) == 1 && X509_set_pubkey(c, key) == 1 &&
      X509_NAME_add_entry_by_NID(subject, NID_organizationName, MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>("Timeball lab"), -1, -1,
                                 0) == 1 &&
      X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(common_name.data()),
                                 static_cast<int>(common_name.size()), -1, 0) == 1 &&
      ASN1_TIME_set(X509_getm_notBefore(c), seconds(from)) != nullptr &&
      ASN1_TIME_set(X509_getm_notAfter(c), seconds(to)) != nullptr;
  return ok ? std::move(certificate) : nullptr;
}

Result<Authority> make_authority(UtcTime now) {
  Authority authority{Key(EVP_EC_gen("P-256")), nullptr};
  if (!authority.key) return fail_openssl("to make the CA's key");
  authority.certificate = start_certificate(authority.key.get(), "Timeball lab CA",
                                            now - kLabBackdating, now + kLabCaLifetime);
  X509* c = authority.certificate.get();
  if (c == nullptr || X509_set_issuer_name(c, X509_get_subject_name(c)) != 1 ||
      !add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !add_extension(c, c, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(c, c, NID_subject_key_identifier, "hash") ||
      X509_sign(c, authority.key.get(), EVP_sha256()) == 0)
    return fail_openssl("to make the CA's certificate");
  return authority;
}

Result<Certificate> make_server_certificate(const Authority& authority, EVP_PKEY* key,
                                            const std::vector<std::string>& hosts, UtcTime now) {
  X509* ca = authority.certificate.get();
  // A common name holds 64 characters at most; clients look at the alternative names only.
  Certificate certificate = start_certificate(key, hosts.front().substr(0, 64),
                                              now - kLabBackdating, now + kLabCertificateLifetime);
  X509* c = certificate.get();
  if (c == nullptr) return fail_openssl("to make the server's certificate");
  // Valid no longer than what signs it.
  if (ASN1_TIME_compare(X509_get0_notAfter(c), X509_get0_notAfter(ca)) > 0)
    X509_set1_notAfter(c, X509_get0_notAfter(ca));
  if (X509_set_issuer_name(c, X509_get_subject_name(ca)) != 1 ||
      !add_extension(c, ca, NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(c, ca, NID_key_usage, "critical,digitalSignature") ||
      !add_extension(c, ca, NID_ext_key_usage, "serverAuth") ||
      !add_extension(c, ca, NID_subject_key_identifier, "hash") ||
      !add_extension(c, ca, NID_authority_key_identifier, "keyid") ||
      !add_alternative_names(c, hosts) || X509_sign(c, authority.key.get(), EVP_sha256()) == 0)
    return fail_openssl("to make the server's certificate");
  return certificate;
}

// The CA in the directory, when it is whole: or why it is not.
Result<Authority> load_authority(const LabCertificates& files, UtcTime now) {
  const std::string remedy = "; use another directory, or --force to make a new CA";
  Authority authority{read_key(files.ca_key), read_certificate(files.ca_certificate), true};
  ERR_clear_error();
  if (!authority.key)
    return fail(files.ca_key.string() + " is missing or is not a private key" + remedy);
  if (!authority.certificate)
    return fail(files.ca_certificate.string() + " is missing or is not a certificate" + remedy);
  X509* c = authority.certificate.get();
  if (X509_check_private_key(c, authority.key.get()) != 1 || X509_check_ca(c) != 1) {
    ERR_clear_error();
    return fail(files.ca_certificate.string() + " is not a CA with the key " +
                files.ca_key.string() + remedy);
  }
  std::time_t at = seconds(now);
  if (X509_cmp_time(X509_get0_notAfter(c), &at) < 0 ||
      X509_cmp_time(X509_get0_notBefore(c), &at) > 0)
    return fail(files.ca_certificate.string() +
                " is expired or not yet valid (is this machine's clock right?)" + remedy);
  return authority;
}

// Whether key.pem may be replaced: it belongs to chain.pem, which this CA signed.
bool is_our_key(const LabCertificates& files, const Authority& authority) {
  const Key key = read_key(files.private_key);
  const Certificate certificate = read_certificate(files.certificate_chain);
  const bool ours = key && certificate && authority.reused &&
                    X509_check_private_key(certificate.get(), key.get()) == 1 &&
                    X509_verify(certificate.get(), authority.key.get()) == 1;
  ERR_clear_error();
  return ours;
}

Result<Authority> find_or_make_authority(const LabCertificates& files, UtcTime now,
                                         bool overwrite) {
  std::error_code ignored;
  if (!fs::exists(files.ca_key, ignored) && !fs::exists(files.ca_certificate, ignored))
    return make_authority(now);
  Result<Authority> found = load_authority(files, now);
  if (!found && overwrite) return make_authority(now);
  return found;
}

Result<void> write_files(const LabCertificates& files, const Authority& authority, X509* leaf,
                         EVP_PKEY* leaf_key) {
  struct Part {
    const fs::path& path;
    std::string text;
    mode_t mode;
  };
  std::vector<Part> parts;
  if (!authority.reused) {
    parts.push_back({files.ca_key, pem(authority.key.get()), kSecretMode});
    parts.push_back({files.ca_certificate, pem(authority.certificate.get()), kPublicMode});
  }
  parts.push_back({files.private_key, pem(leaf_key), kSecretMode});
  parts.push_back({files.certificate_chain, pem(leaf), kPublicMode});
  for (const Part& part : parts) {
    if (part.text.empty()) return fail_openssl("to write PEM");
    if (const Result<void> written = replace_file(part.path, part.text, part.mode); !written) {
      return fail("cannot write " + part.path.string() + ": " + written.error().message);
    }
  }
  return {};
}

}  // namespace

const std::vector<std::string>& default_lab_hosts() {
  static const std::vector<std::string> hosts = {"localhost", "127.0.0.1", "::1"};
  return hosts;
}

Result<LabCertificates> make_lab_certificates(const fs::path& dir,
                                              const std::vector<std::string>& hosts, UtcTime now,
                                              bool overwrite) {
  LabCertificates files{dir / "ca.pem", dir / "ca.key", dir / "chain.pem", dir / "key.pem",
                        hosts.empty() ? default_lab_hosts() : hosts};
  if (const Result<void> checked = check_hosts(files.hosts); !checked)
    return tl::unexpected(checked.error());
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return fail("cannot create " + dir.string() + ": " + error.message());

  const Result<Authority> authority = find_or_make_authority(files, now, overwrite);
  if (!authority) return tl::unexpected(authority.error());
  if (fs::exists(files.private_key, error) && !overwrite && !is_our_key(files, *authority))
    return fail(files.private_key.string() +
                " is a private key that this lab's CA knows nothing of, and is left alone; use "
                "another directory, or --force to replace it");

  const Key key(EVP_EC_gen("P-256"));
  if (!key) return fail_openssl("to make the server's key");
  const Result<Certificate> leaf = make_server_certificate(*authority, key.get(), files.hosts, now);
  if (!leaf) return tl::unexpected(leaf.error());
  if (const Result<void> written = write_files(files, *authority, leaf->get(), key.get()); !written)
    return tl::unexpected(written.error());
  files.ca_reused = authority->reused;
  return files;
}

}  // namespace timeball::server
