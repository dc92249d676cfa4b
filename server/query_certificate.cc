#include "server/query_certificate.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <ctime>

#include "common/base/openssl_handle.h"
#include "common/base/printable.h"

namespace timeball::server {
namespace {

std::string name_text(const X509_NAME* name) {
  const OpenSsl<BIO, BIO_free_all> bio(BIO_new(BIO_s_mem()));
  if (!bio || X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0)
    return {};
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &data);
  return printable({data, static_cast<std::size_t>(length)});
}

std::string time_text(const ASN1_TIME* time) {
  std::tm fields{};
  char text[32];
  if (ASN1_TIME_to_tm(time, &fields) != 1) return "unreadable";
  const std::size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &fields);
  return {text, length};
}

std::string address_text(const ASN1_OCTET_STRING* address) {
  const unsigned char* octets = ASN1_STRING_get0_data(address);
  switch (ASN1_STRING_length(address)) {
    case 4:
      return net::IpAddress::from_v4(load_be32(octets)).to_string();
    case 16: {
      net::IpAddress ip;
      std::copy_n(octets, 16, ip.octets.begin());
      return ip.to_string();
    }
    default:
      return "malformed address";
  }
}

std::vector<std::string> alternative_names(X509* certificate) {
  const OpenSsl<GENERAL_NAMES, GENERAL_NAMES_free> names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> texts;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
    if (type == GEN_DNS) {
      const auto* dns = static_cast<const ASN1_IA5STRING*>(value);
      texts.push_back(printable({reinterpret_cast<const char*>(ASN1_STRING_get0_data(dns)),
                                 static_cast<std::size_t>(ASN1_STRING_length(dns))}));
    } else if (type == GEN_IPADD) {
      texts.push_back(address_text(static_cast<const ASN1_OCTET_STRING*>(value)));
    }
  }
  ERR_clear_error();
  return texts;
}

std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text.empty() ? "nothing" : text;
}

QueryFailure explain_unknown_issuer(const CertificateFacts& certificate,
                                    const QueryOptions& options) {
  const bool own_ca = !options.ca_file.empty();
  return {QueryStatus::kTls,
          "the certificate's issuer (" + certificate.issuer + ") is not known to " +
              (own_ca ? printable(options.ca_file) : "this machine"),
          own_ca ? "give the CA that signed this certificate; a server with intermediate CAs must "
                   "send them too (the whole chain in its certificate file)"
                 : "for a private CA, give its certificate with --ca FILE; for a public one, the "
                   "server must send its intermediate certificates (the whole chain)"};
}

}  // namespace

CertificateFacts describe_certificate(X509* certificate) {
  CertificateFacts facts;
  facts.subject = name_text(X509_get_subject_name(certificate));
  facts.issuer = name_text(X509_get_issuer_name(certificate));
  facts.names = alternative_names(certificate);
  facts.not_before = time_text(X509_get0_notBefore(certificate));
  facts.not_after = time_text(X509_get0_notAfter(certificate));
  int seconds = 0;
  ASN1_TIME_diff(&facts.days_left, &seconds, nullptr, X509_get0_notAfter(certificate));
  return facts;
}

QueryFailure explain_certificate_problem(long verify_result, const CertificateFacts& certificate,
                                         const QueryOptions& options) {
  const std::string host = printable(options.host);
  switch (verify_result) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return {
          QueryStatus::kTls,
          "name mismatch: the certificate is for " + join(certificate.names) + ", not for " + host,
          "query the server by one of those names, or put " + host +
              " among the certificate's subject alternative names"};
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return {QueryStatus::kTls, "the certificate is self-signed",
              "trust it with --ca FILE (the certificate itself), or use a CA: `timeball cert lab`"};
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return explain_unknown_issuer(certificate, options);
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return {QueryStatus::kTls,
              "the certificate chain expired (the server's own ends " + certificate.not_after + ")",
              "renew it and reload the server; if that date is still to come by your watch, this "
              "machine's clock is wrong"};
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return {QueryStatus::kTls,
              "the certificate chain is not yet valid (the server's own begins " +
                  certificate.not_before + ")",
              "if that date is past by your watch, set this machine's clock by hand first; else "
              "wait, or issue the certificate anew"};
    default:
      return {
          QueryStatus::kTls,
          std::string("the certificate does not verify: ") +
              X509_verify_cert_error_string(verify_result),
          "issue a certificate for TLS servers (serverAuth) from a CA that this machine or --ca "
          "trusts"};
  }
}

}  // namespace timeball::server
