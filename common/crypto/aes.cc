#include "common/crypto/aes.h"

#include <cassert>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/base/secret.h"

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

void Aes::forget() {
  constexpr std::array<std::uint8_t, 32> kZeros{};
  const auto length = static_cast<std::size_t>(EVP_CIPHER_CTX_get_key_length(context_.get()));
  (void)start(Bytes(kZeros).first(length));  // nothing of it allocates: the context has been keyed
}

[[gnu::noinline]] [[gnu::no_sanitize_address]] void forget_aes() {
  std::array<std::uint8_t, 16384> stack;  // what of it was used below the caller, and more
  wipe(stack);
#ifdef __SSE2__
  asm volatile(
      "pxor %%xmm0, %%xmm0; pxor %%xmm1, %%xmm1; pxor %%xmm2, %%xmm2; pxor %%xmm3, %%xmm3;"
      "pxor %%xmm4, %%xmm4; pxor %%xmm5, %%xmm5; pxor %%xmm6, %%xmm6; pxor %%xmm7, %%xmm7;"
      "pxor %%xmm8, %%xmm8; pxor %%xmm9, %%xmm9; pxor %%xmm10, %%xmm10; pxor %%xmm11, %%xmm11;"
      "pxor %%xmm12, %%xmm12; pxor %%xmm13, %%xmm13; pxor %%xmm14, %%xmm14; pxor %%xmm15, %%xmm15"
      :
      :
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#endif
}

}  // namespace timeball::crypto
