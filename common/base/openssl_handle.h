// Owners for OpenSSL's objects: OpenSsl<EVP_PKEY, EVP_PKEY_free> key(...);
#pragma once

#include <memory>

namespace timeball {

template <auto Free>
struct OpenSslDeleter {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};

template <class T, auto Free>
using OpenSsl = std::unique_ptr<T, OpenSslDeleter<Free>>;

}  // namespace timeball
