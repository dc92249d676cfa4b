#include "server/admin_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>

#include "server/file.h"

namespace timeball::server {
namespace {

constexpr std::size_t kLongestCredentials = 1024;  // in base64

bool equal_but_for_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

// Base64 with its padding (RFC 4648, section 4); empty: it is none.
SecretText decode(std::string_view base64) {
  SecretText octets;
  if (base64.empty() || base64.size() > kLongestCredentials || base64.size() % 4 != 0)
    return octets;
  octets.resize(base64.size() / 4 * 3);
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(octets.data()),
                                     reinterpret_cast<const unsigned char*>(base64.data()),
                                     static_cast<int>(base64.size()));
  const auto padding =
      static_cast<std::size_t>(std::ranges::count(base64.substr(base64.size() - 2), '='));
  octets.resize(length < 0 ? 0 : static_cast<std::size_t>(length) - padding);
  return octets;
}

}  // namespace

Result<AdminToken> AdminToken::parse(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  const bool printable = std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
  if (!printable || text.size() < kShortest || text.size() > kLongest) {
    return fail(fmt::format(
        "no token: write one line of {} to {} printable characters without spaces, such as "
        "openssl rand -hex 24 prints",
        kShortest, kLongest));
  }
  return AdminToken(text);
}

Result<AdminToken> AdminToken::read(const std::string& token_file) {
  const auto text = read_secret("admin.token_file", token_file, kLongest + 1);
  if (!text) return tl::unexpected(text.error());
  auto token = parse(*text);
  if (!token) return fail("admin.token_file " + token_file + ": " + token.error().message);
  return token;
}

bool AdminToken::is(std::string_view presented) const {
  return presented.size() == token_.size() &&
         CRYPTO_memcmp(presented.data(), token_.data(), token_.size()) == 0;
}

bool AdminToken::admits(std::string_view authorization) const {
  const std::size_t space = authorization.find(' ');
  if (space == authorization.npos) return false;
  const std::string_view scheme = authorization.substr(0, space);
  std::string_view credentials = authorization.substr(space);
  credentials.remove_prefix(std::min(credentials.find_first_not_of(' '), credentials.size()));
  if (equal_but_for_case(scheme, "Bearer")) return is(credentials);
  if (!equal_but_for_case(scheme, "Basic")) return false;
  const SecretText decoded = decode(credentials);
  const std::size_t colon = decoded.find(':');
  return colon != decoded.npos && is(std::string_view(decoded).substr(colon + 1));
}

}  // namespace timeball::server
