#include "common/crypto/aes.h"

#include <cassert>
#include <stdexcept>
#include <string>
#include <utility>

namespace timeball::crypto {
namespace {

struct FreeCipher {
  void operator()(EVP_CIPHER* cipher) const { EVP_CIPHER_free(cipher); }
};

std::string cipher_name(Aes::Mode mode, std::size_t key_length) {
  const char* suffix = mode == Aes::Mode::kEcb ? "-ECB" : mode == Aes::Mode::kCbc ? "-CBC" : "-CTR";
  return "AES-" + std::to_string(key_length * 8) + suffix;
}

}  // namespace

Aes::Aes(Mode mode, std::size_t key_length) : context_(EVP_CIPHER_CTX_new()) {
  const std::string name = cipher_name(mode, key_length);
  const std::unique_ptr<EVP_CIPHER, FreeCipher> cipher(
      EVP_CIPHER_fetch(nullptr, name.c_str(), nullptr));
  if (!cipher || !context_ ||
      EVP_EncryptInit_ex2(context_.get(), cipher.get(), nullptr, nullptr, nullptr) != 1 ||
      EVP_CIPHER_CTX_set_padding(context_.get(), 0) != 1) {
    throw std::runtime_error("OpenSSL cannot provide " + name +
                             ": check that its default provider is installed and enabled");
  }
}

bool Aes::start(Bytes key, const Block& initial_vector) {
  assert(std::cmp_equal(key.size(), EVP_CIPHER_CTX_get_key_length(context_.get())));
  return EVP_EncryptInit_ex2(context_.get(), nullptr, key.data(), initial_vector.data(), nullptr) ==
         1;
}

bool Aes::encrypt(Bytes in, std::uint8_t* out) {
  assert(std::in_range<int>(in.size()));
  if (in.empty()) return true;
  int written = 0;
  return EVP_EncryptUpdate(context_.get(), out, &written, in.data(), static_cast<int>(in.size())) ==
             1 &&
         static_cast<std::size_t>(written) == in.size();
}

}  // namespace timeball::crypto
