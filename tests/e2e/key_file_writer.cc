// Writes a key file as the daemon does, for tests that end it, or fail it, at each system call.
//
//   key_file_writer open FILE       the daemon's start: reads the keys, or makes the first ones
//   key_file_writer rotate FILE     and replaces them, as `timeball keys rotate` does
//   key_file_writer rekey FILE      as `timeball keys rekey`
//   key_file_writer tick FILE       as the clock does a day later, and once more after the pause
//   that
//                                   follows a failure
// Prints "failures N", of writing. Exit status 0: the keys in use are in the file at the end, and
// were never others than before while writing them failed; 1: an error, told on stderr.
#include <cstdio>
#include <string_view>

#include "common/base/log.h"
#include "common/crypto/entropy.h"
#include "server/master_key_store.h"

namespace {

using namespace std::chrono_literals;
using timeball::KernelTime;
using timeball::MonotonicTime;
using timeball::Result;
using timeball::server::MasterKeyStore;

constexpr MonotonicTime kStart{5'000'000'000};
constexpr KernelTime kWall{1'750'000'000LL * 1'000'000'000};

Result<void> tick_a_day_later(MasterKeyStore& store) {
  const auto before = store.keys().current();
  store.tick(kStart + 24h, kWall + 24h);
  if (store.status().write_failures == 0) return {};
  if (store.keys().current() != before) return timeball::fail("other keys, though not written");
  store.tick(kStart + 24h + MasterKeyStore::kRetryInterval,
             kWall + 24h + MasterKeyStore::kRetryInterval);
  if (store.keys().current() == before) return timeball::fail("not tried again");
  return {};
}

Result<void> act(MasterKeyStore& store, std::string_view verb) {
  if (verb == "open") return {};
  if (verb == "rotate") return store.rotate(kStart, kWall);
  if (verb == "rekey") return store.rekey(kStart, kWall);
  if (verb == "tick") return tick_a_day_later(store);
  return timeball::fail("unknown verb");
}

Result<void> run(std::string_view verb, const char* file) {
  timeball::set_up_log("off", timeball::LogFormat::kText);
  const auto store = MasterKeyStore::open({.file = file, .rotation = 24h, .keep = 3},
                                          &timeball::crypto::read_entropy, kStart, kWall);
  if (!store) return timeball::fail(store.error().message);
  const Result<void> acted = act(**store, verb);
  std::printf("failures %llu\n",
              static_cast<unsigned long long>((*store)->status().write_failures));
  return acted ? (*store)->verify() : acted;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 1;
  const Result<void> done = run(argv[1], argv[2]);
  if (done) return 0;
  std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return 1;
}
