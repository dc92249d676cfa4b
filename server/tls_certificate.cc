#include "server/tls_certificate.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cctype>
#include <ctime>
#include <string_view>
#include <utility>

#include "common/base/bytes.h"
#include "common/net/address.h"
#include "server/file.h"

namespace timeball::server {
namespace {

using Bio = OpenSsl<BIO, BIO_free_all>;
using Names = OpenSsl<GENERAL_NAMES, GENERAL_NAMES_free>;

// Holds no references: OpenSSL takes its own.
void free_stack(STACK_OF(X509) * stack) {
  sk_X509_free(stack);
}
using BorrowedChain = OpenSsl<STACK_OF(X509), free_stack>;

Bio reader(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// A daemon has nobody to ask for a passphrase.
int refuse_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

std::int64_t seconds_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  return ::timegm(&parts);
}

std::string subject_of(const X509* certificate) {
  const Bio text(BIO_new(BIO_s_mem()));
  if (!text ||
      X509_NAME_print_ex(text.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) < 0) {
    return {};
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

// Empty: neither a DNS name nor an address.
std::string text_of(const GENERAL_NAME* name) {
  const ASN1_STRING* string = name->type == GEN_DNS     ? name->d.dNSName
                              : name->type == GEN_IPADD ? name->d.iPAddress
                                                        : nullptr;
  if (string == nullptr) return {};
  const Bytes octets(ASN1_STRING_get0_data(string),
                     static_cast<std::size_t>(ASN1_STRING_length(string)));
  if (name->type == GEN_IPADD) {
    if (octets.size() == 4) return net::IpAddress::from_v4(load_be32(octets.data())).to_string();
    net::IpAddress address;
    if (octets.size() != address.octets.size()) return {};
    std::ranges::copy(octets, address.octets.begin());
    return address.to_string();
  }
  std::string text(octets.begin(), octets.end());
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::vector<std::string> names_of(const X509* certificate) {
  std::vector<std::string> names;
  const Names all(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(all.get()); ++i) {
    names.push_back(text_of(sk_GENERAL_NAME_value(all.get(), i)));
  }
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::erase(names, std::string());
  return names;
}

}  // namespace

Result<std::vector<X509Handle>> read_chain(const std::string& path) {
  const auto pem = read_whole_file(path);
  if (!pem) return fail(pem.error().message);
  const Bio bio = reader(*pem);
  std::vector<X509Handle> chain;
  ERR_clear_error();
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    chain.emplace_back(certificate);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) {
    return fail(fmt::format("certificate {} in \"{}\" is damaged; copy the PEM file again",
                            chain.size() + 1, path));
  }
  if (chain.empty()) {
    return fail(fmt::format(
        "\"{}\" holds no certificate; it must be PEM (-----BEGIN CERTIFICATE-----)", path));
  }
  return chain;
}

Result<PkeyHandle> read_private_key(const std::string& path) {
  auto pem = read_whole_file(path);
  if (!pem) return fail(pem.error().message);
  bool asked = false;
  PkeyHandle key(PEM_read_bio_PrivateKey(reader(*pem).get(), nullptr, refuse_passphrase, &asked));
  ERR_clear_error();
  OPENSSL_cleanse(pem->data(), pem->size());
  if (key) return key;
  if (asked) {
    return fail(fmt::format(
        "\"{}\" is encrypted; write it without a passphrase: openssl pkey -in OLD -out NEW", path));
  }
  return fail(fmt::format(
      "\"{}\" holds no private key; it must be PEM (-----BEGIN PRIVATE KEY-----)", path));
}

std::string print_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable date";
  char text[32];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return std::string(text, length);
}

Result<std::shared_ptr<const TlsCertificate>> TlsCertificate::read(const CertificateFiles& files) {
  auto chain = read_chain(files.certificate);
  if (!chain) return fail(chain.error().message);
  auto key = read_private_key(files.private_key);
  if (!key) return fail(key.error().message);
  return make(std::move(*chain), std::move(*key), files);
}

Result<std::shared_ptr<const TlsCertificate>> TlsCertificate::make(std::vector<X509Handle> chain,
                                                                   PkeyHandle key,
                                                                   const CertificateFiles& files) {
  ERR_clear_error();
  const bool matching = X509_check_private_key(chain.front().get(), key.get()) == 1;
  ERR_clear_error();
  if (!matching) {
    return fail(fmt::format(
        "\"{}\" is not the key of the certificate in \"{}\"; name the two files that were made "
        "together",
        files.private_key, files.certificate));
  }
  std::shared_ptr<const TlsCertificate> made(new TlsCertificate(std::move(chain), std::move(key)));
  const OpenSsl<SSL_CTX, SSL_CTX_free> trial(SSL_CTX_new(TLS_server_method()));
  const bool usable = trial && made->put_into(trial.get());
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  ERR_clear_error();
  if (usable) return made;
  return fail(fmt::format("\"{}\" cannot be used ({}); get a certificate with a stronger key",
                          files.certificate, reason != nullptr ? reason : "out of memory"));
}

TlsCertificate::TlsCertificate(std::vector<X509Handle> chain, PkeyHandle key)
    : chain_(std::move(chain)),
      key_(std::move(key)),
      not_before_s_(seconds_of(X509_get0_notBefore(leaf()))),
      not_after_s_(seconds_of(X509_get0_notAfter(leaf()))),
      subject_(subject_of(leaf())),
      names_(names_of(leaf())) {}

int TlsCertificate::key_type() const {
  return EVP_PKEY_get_base_id(key_.get());
}

bool TlsCertificate::same_leaf(const TlsCertificate& other) const {
  return X509_cmp(leaf(), other.leaf()) == 0;
}

bool TlsCertificate::put_into(SSL_CTX* context) const {
  const BorrowedChain others(sk_X509_new_null());
  if (!others) return false;
  for (std::size_t i = 1; i < chain_.size(); ++i) {
    if (sk_X509_push(others.get(), chain_[i].get()) <= 0) return false;
  }
  return SSL_CTX_use_cert_and_key(context, leaf(), key_.get(), others.get(), 1) == 1;
}

}  // namespace timeball::server
