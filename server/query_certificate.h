// The server's certificate, for `timeball query`: its facts, and what is wrong with it in words.
#pragma once

#include <openssl/x509.h>

#include <string>

#include "server/query.h"

namespace timeball::server {

// problem is left empty.
CertificateFacts describe_certificate(X509* certificate);

// verify_result: an X509_V_ERR_ number other than X509_V_OK.
QueryFailure explain_certificate_problem(long verify_result, const CertificateFacts& certificate,
                                         const QueryOptions& options);

}  // namespace timeball::server
