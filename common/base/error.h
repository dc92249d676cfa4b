// Failures on cold paths: one sentence for a person, saying what is wrong and what to do.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace timeball {

struct Error {
  std::string message;
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(std::string message) {
  return tl::unexpected<Error>(Error{std::move(message)});
}

}  // namespace timeball
