// The secret that opens the admin listener, as a program or a browser shows it:
//
//   Authorization: Bearer TOKEN           programs (RFC 6750)
//   Authorization: Basic NAME:TOKEN       browsers, which ask for it and then show it with each
//                                         request, those of EventSource included (RFC 7617);
//                                         whatever the name
//
// Never in a URL, which browsers and proxies keep. Immutable; any thread.
#pragma once

#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/base/secret_memory.h"

namespace timeball::server {

class AdminToken {
 public:
  static constexpr std::size_t kShortest = 16;
  static constexpr std::size_t kLongest = 512;

  // One line of printable characters without spaces. The error says what is wrong with it.
  static Result<AdminToken> parse(std::string_view text);
  // admin.token_file: a file of this user's alone, or "credential:NAME".
  static Result<AdminToken> read(const std::string& token_file);

  // The value of the header; empty: there is none. Its time does not tell how much is right.
  bool admits(std::string_view authorization) const;

 private:
  explicit AdminToken(std::string_view token) : token_(token.begin(), token.end()) {}
  bool is(std::string_view presented) const;

  SecretText token_;
};

}  // namespace timeball::server
