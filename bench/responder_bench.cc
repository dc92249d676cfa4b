// What one request costs, without a socket: prepare + stamp + seal by algorithm and batch size, and
// its parts. Compare figures of one run only: machines change speed from minute to minute.
#include <benchmark/benchmark.h>

#include <array>
#include <vector>

#include "bench/responder_load.h"
#include "common/nts/cookie.h"
#include "common/nts/request.h"

namespace {

using namespace timeball;
using bench::ResponderLoad;
using crypto::AeadId;
using crypto::Implementation;

void answer(benchmark::State& state, std::optional<AeadId> aead, std::size_t batch) {
  ResponderLoad load(aead, batch, Implementation::kAuto);
  for (auto _ : state) {
    if (!load.answer()) state.SkipWithError("not answered");
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(batch));
}

void nts_reply(benchmark::State& state) {
  answer(state, static_cast<AeadId>(state.range(0)), static_cast<std::size_t>(state.range(1)));
}
BENCHMARK(nts_reply)->ArgNames({"aead", "batch"})->ArgsProduct({{15, 16, 17, 30}, {1, 8, 64}});

void plain_reply(benchmark::State& state) {
  answer(state, std::nullopt, static_cast<std::size_t>(state.range(0)));
}
BENCHMARK(plain_reply)->ArgName("batch")->Arg(1)->Arg(64);

void parse(benchmark::State& state) {
  const ResponderLoad load(AeadId::kAesSivCmac256, 1, Implementation::kAuto);
  for (auto _ : state) benchmark::DoNotOptimize(nts::parse_request(load.request(0)));
}
BENCHMARK(parse);

void cookie_seal(benchmark::State& state) {
  ResponderLoad load(AeadId::kAesSivCmac256, static_cast<std::size_t>(state.range(0)),
                     Implementation::kAuto);
  crypto::Engine engine;
  std::vector<std::array<std::uint8_t, nts::kMaxCookieLength>> rooms(load.size());
  std::vector<nts::SealCookieJob> jobs(load.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const nts::AssociationKeys& keys = load.association(i).keys;
    jobs[i] = {&keys, MutableBytes(rooms[i]).first(nts::cookie_length(keys.aead))};
  }
  for (auto _ : state) {
    if (!nts::seal_cookies(load.keys(), engine, load.random(), jobs)) {
      state.SkipWithError("not sealed");
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(cookie_seal)->ArgName("batch")->Arg(1)->Arg(64);

void cookie_open(benchmark::State& state) {
  ResponderLoad load(AeadId::kAesSivCmac256, static_cast<std::size_t>(state.range(0)),
                     Implementation::kAuto);
  crypto::Engine engine;
  std::vector<nts::OpenCookieJob> jobs(load.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].cookie = nts::parse_request(load.request(i)).nts.cookie;
  }
  for (auto _ : state) {
    nts::open_cookies(load.keys(), engine, load.random(), jobs);
    if (jobs[0].status != nts::CookieStatus::kOpened) state.SkipWithError("not opened");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(cookie_open)->ArgName("batch")->Arg(1)->Arg(64);

}  // namespace

BENCHMARK_MAIN();
