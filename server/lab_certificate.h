// A lab's own certificate authority and a server certificate under it, for NTS without a public CA:
// `timeball cert lab DIR`, the quick start and the tests.
//
//   DIR/ca.pem     the CA, P-256, 10 years: what clients are told to trust
//   DIR/ca.key     its private key, 0600
//   DIR/chain.pem  the server's certificate, P-256, 397 days, for DNS names and IP addresses
//   DIR/key.pem    its private key, 0600
//
// Every file is replaced whole or not at all. Cold path; any thread; randomness is OpenSSL's.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/time/time_scales.h"

namespace timeball::server {

inline constexpr std::chrono::hours kLabCaLifetime{24 * 3650};
inline constexpr std::chrono::hours kLabCertificateLifetime{24 * 397};
inline constexpr std::chrono::hours kLabBackdating{24};  // for clients whose clock is behind

struct LabCertificates {
  std::filesystem::path ca_certificate;
  std::filesystem::path ca_key;
  std::filesystem::path certificate_chain;
  std::filesystem::path private_key;
  std::vector<std::string> hosts;  // as in the certificate
  bool ca_reused = false;          // the directory already held this CA
};

// The names a lab server is given when none is asked for: localhost, 127.0.0.1, ::1.
const std::vector<std::string>& default_lab_hosts();

// Makes the directory and the files. A CA that is already there, whole and valid at `now`, signs
// the new server certificate. hosts: DNS names (also "*.lab.example") and IP addresses; empty: the
// default. overwrite: replace also what does not look like ours: a key.pem whose certificate our CA
// did not sign, half a CA, or an expired one; without it these are errors that say so.
Result<LabCertificates> make_lab_certificates(const std::filesystem::path& dir,
                                              const std::vector<std::string>& hosts, UtcTime now,
                                              bool overwrite = false);

}  // namespace timeball::server
