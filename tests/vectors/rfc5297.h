// RFC 5297, Appendix A, in hexadecimal: the two examples of SIV.
#pragma once

namespace timeball::vectors::rfc5297 {

// A.1, deterministic: one component of associated data.
namespace a1 {
inline constexpr const char* kKey =
    "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
inline constexpr const char* kAssociatedData = "101112131415161718191a1b1c1d1e1f2021222324252627";
inline constexpr const char* kPlaintext = "112233445566778899aabbccddee";
inline constexpr const char* kOutput =
    "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c";
}  // namespace a1

// A.2, nonce-based: two components of associated data, then the nonce.
namespace a2 {
inline constexpr const char* kKey =
    "7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f";
inline constexpr const char* kAssociatedData1 =
    "00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100";
inline constexpr const char* kAssociatedData2 = "102030405060708090a0";
inline constexpr const char* kNonce = "09f911029d74e35bd84156c5635688c0";
inline constexpr const char* kPlaintext =
    "7468697320697320736f6d6520706c61696e7465787420746f20656e6372797074207573696e67205349562d41455"
    "3";
inline constexpr const char* kOutput =
    "7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af"
    "829ea64ad544a272e9c485b62a3fd5c0d";
}  // namespace a2

}  // namespace timeball::vectors::rfc5297
