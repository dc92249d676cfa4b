// What the NTS tests share: packets and NTS-KE messages put together octet by octet, and a small
// server made of the functions that the daemon uses. Deterministic.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/crypto/aead.h"
#include "common/crypto/random.h"
#include "common/ntp/extension_field.h"
#include "common/ntp/packet.h"
#include "common/nts/cookie.h"
#include "common/nts/ke_record.h"
#include "common/nts/key_ring.h"

namespace timeball::nts {

using Octets = std::vector<std::uint8_t>;
using Ids = std::vector<std::uint16_t>;
using ntp::FieldType;

inline constexpr std::array<crypto::AeadId, 4> kEveryAead = {
    crypto::AeadId::kAesSivCmac256, crypto::AeadId::kAesSivCmac384, crypto::AeadId::kAesSivCmac512,
    crypto::AeadId::kAes128GcmSiv};

inline Octets octets(std::size_t n, std::uint8_t value = 0xa5) {
  return Octets(n, value);
}

// Octets as text: a set's element, or a name.
inline std::string text(Bytes bytes) {
  return {bytes.begin(), bytes.end()};
}

inline std::array<std::uint8_t, crypto::kSeedLength> seed(std::uint8_t value) {
  std::array<std::uint8_t, crypto::kSeedLength> bytes;
  bytes.fill(value);
  return bytes;
}

inline MasterKeySecret master_key(std::uint8_t value) {
  return MasterKeySecret(octets(kMasterKeyLength, value));
}

inline AssociationKeys association_keys(crypto::AeadId aead, std::uint8_t first = 1) {
  const std::size_t length = crypto::parameters(aead).key_length;
  AssociationKeys keys;
  keys.aead = aead;
  const auto number = [](MutableBytes key, std::uint8_t from) {
    for (std::uint8_t& octet : key) octet = from++;
  };
  number(keys.c2s.resize(length), first);
  number(keys.s2c.resize(length), static_cast<std::uint8_t>(first + 100));
  return keys;
}

// A packet: a client's header, then fields.
class Packet {
 public:
  Packet() : octets_(ntp::kHeaderLength) { ntp::write_header({}, octets_); }

  Packet& field(FieldType type, Bytes body) {
    Octets field(ntp::kFieldHeaderLength + padded4(body.size()));
    ByteWriter out(field);
    ntp::write_field(out, type, body);
    return raw(field);
  }
  Packet& uid(std::size_t n = 32) { return field(FieldType::kUniqueIdentifier, octets(n, 0x11)); }
  Packet& cookie(std::size_t n = 100) { return field(FieldType::kNtsCookie, octets(n, 0x22)); }
  Packet& placeholder(std::size_t n = 100, std::uint8_t value = 0) {
    return field(FieldType::kNtsCookiePlaceholder, octets(n, value));
  }
  // The authenticator's lengths as told, its body as given: nonce, ciphertext, padding.
  Packet& authenticator(std::size_t nonce, std::size_t ciphertext, std::size_t additional = 0) {
    Octets body(4 + padded4(nonce) + padded4(ciphertext) + additional, 0x33);
    store_be16(body.data(), static_cast<std::uint16_t>(nonce));
    store_be16(body.data() + 2, static_cast<std::uint16_t>(ciphertext));
    return field(FieldType::kNtsAuthenticator, body);
  }
  Packet& raw(Bytes more) {
    octets_.insert(octets_.end(), more.begin(), more.end());
    return *this;
  }
  const Octets& get() const { return octets_; }

 private:
  Octets octets_;
};

// An NTS-KE message, record by record.
class Message {
 public:
  Message& record(bool critical, std::uint16_t type, Bytes body) {
    Octets record(kRecordHeaderLength + body.size());
    ByteWriter out(record);
    write_record(out, critical, static_cast<RecordType>(type), body);
    octets_.insert(octets_.end(), record.begin(), record.end());
    return *this;
  }
  Message& ids(bool critical, std::uint16_t type, std::initializer_list<std::uint16_t> ids) {
    Octets body(2 * ids.size());
    ByteWriter out(body);
    for (const std::uint16_t id : ids) out.u16(id);
    return record(critical, type, body);
  }
  Message& text(bool critical, std::uint16_t type, std::string_view body) {
    return record(critical, type, Octets(body.begin(), body.end()));
  }
  Message& protocol(std::initializer_list<std::uint16_t> list = {0}) { return ids(true, 1, list); }
  Message& aead(std::initializer_list<std::uint16_t> list = {15}) { return ids(true, 4, list); }
  Octets end() { return record(true, 0, {}).octets_; }
  const Octets& unfinished() const { return octets_; }

 private:
  Octets octets_;
};

}  // namespace timeball::nts
