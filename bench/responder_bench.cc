// What one request costs, without a socket: prepare + stamp + seal by algorithm and batch size, and
// the AEAD rows alone. Compare figures of one run only: machines change speed from minute to
// minute.
#include <benchmark/benchmark.h>

#include <array>
#include <vector>

#include "common/nts/client.h"
#include "common/nts/cookie.h"
#include "server/responder.h"

namespace {

using namespace timeball;

nts::MasterKeySecret master_key(std::uint8_t fill) {
  std::array<std::uint8_t, nts::kMasterKeyLength> octets{};
  octets.fill(fill);
  return nts::MasterKeySecret(octets);
}

crypto::RandomGenerator generator() {
  return crypto::RandomGenerator(std::array<std::uint8_t, crypto::kSeedLength>{1});
}

// Requests of as many associations as the batch is long, and room for their replies.
struct Load {
  Load(crypto::AeadId aead, std::size_t size, crypto::RandomGenerator& random) : batch(size) {
    crypto::Engine engine;
    const std::size_t length = crypto::parameters(aead).key_length;
    for (std::size_t i = 0; i < size; ++i) {
      nts::ClientAssociation a;
      a.keys.aead = aead;
      random.fill(a.keys.c2s.resize(length));
      random.fill(a.keys.s2c.resize(length));
      std::vector<std::uint8_t> cookie(nts::cookie_length(aead));
      nts::SealCookieJob job{&a.keys, cookie};
      if (!nts::seal_cookies(keys, engine, random, {&job, 1})) std::abort();
      a.cookies.push_back(cookie);
      requests.push_back(nts::make_nts_request(a, {}, engine, random).value().packet);
      rooms.emplace_back(requests.back().size());
    }
    for (std::size_t i = 0; i < size; ++i) {
      batch[i].request = requests[i];
      batch[i].reply_room = rooms[i];
      batch[i].peer.port = 40000;
    }
  }

  nts::KeyRing keys = nts::KeyRing::create(1, master_key(1), master_key(2));
  std::vector<std::vector<std::uint8_t>> requests;
  std::vector<std::vector<std::uint8_t>> rooms;
  std::vector<net::Datagram> batch;
};

void nts_reply(benchmark::State& state) {
  auto random = generator();
  Load load(static_cast<crypto::AeadId>(state.range(0)), static_cast<std::size_t>(state.range(1)),
            random);
  server::Responder responder({}, crypto::Engine(), random);
  const ClockState clock;
  const server::AccessPolicy access;
  for (auto _ : state) {
    const auto verdicts = responder.prepare(load.batch, {clock, load.keys, access}, {1});
    responder.stamp(load.batch, {1});
    benchmark::DoNotOptimize(responder.seal(load.batch, 0));
    if (verdicts[0] != server::Verdict::kAnsweredNts) state.SkipWithError("not answered");
  }
  state.SetItemsProcessed(state.iterations() * state.range(1));
}
BENCHMARK(nts_reply)->ArgNames({"aead", "batch"})->ArgsProduct({{15, 16, 17, 30}, {1, 8, 64}});

void plain_reply(benchmark::State& state) {
  auto random = generator();
  server::Responder responder({}, crypto::Engine(), random);
  const ClockState clock;
  const nts::KeyRing keys;
  const server::AccessPolicy access;
  const std::vector<std::uint8_t> request = nts::make_plain_request(random).packet;
  std::vector<std::uint8_t> room(request.size());
  std::vector<net::Datagram> batch(static_cast<std::size_t>(state.range(0)));
  for (auto& datagram : batch) {
    datagram.request = request;
    datagram.reply_room = room;
    datagram.peer.port = 40000;
  }
  for (auto _ : state) {
    const auto verdicts = responder.prepare(batch, {clock, keys, access}, {1});
    responder.stamp(batch, {1});
    benchmark::DoNotOptimize(responder.seal(batch, 0));
    if (verdicts[0] != server::Verdict::kAnsweredPlain) state.SkipWithError("not answered");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(plain_reply)->ArgName("batch")->Arg(1)->Arg(64);

}  // namespace

BENCHMARK_MAIN();
