// The cryptography of NTS requests alone, by implementation, algorithm, shape and burst: open the
// cookie and seal a fresh one, verify the request, seal the reply. Every request has keys of its
// own; nothing is kept from one to the next. items_per_second counts requests.
//
// Compare figures of one run only.
#include <benchmark/benchmark.h>

#include <array>
#include <string>
#include <vector>

#include "common/crypto/aead.h"
#include "common/crypto/random.h"

namespace {

using namespace timeball;
using namespace timeball::crypto;
using Octets = std::vector<std::uint8_t>;

constexpr std::size_t kRequests = 64;  // a full batch of the daemon

// A request's lengths. kNts: a usual client, which asks for one cookie; kMixed: 64 clients, no two
// of which have the same lengths but for the cookie's.
enum class Shape { kNts, kMixed };

// One request and its reply, as far as the AEAD sees them.
struct Request {
  Octets cookie_nonce, cookie_ad, cookie, keys;
  Octets nonce, ad, tag;
  Octets new_cookie_nonce, reply_nonce, reply_ad, reply_text, reply;
};

class Load {
 public:
  Load(AeadId aead, Shape shape) : key_length_(parameters(aead).key_length), requests_(kRequests) {
    Engine engine(Implementation::kPortable);
    for (std::size_t i = 0; i < kRequests; ++i) make(requests_[i], aead, shape, i, engine);
    for (Request& r : requests_) add_jobs(r);
  }

  // All of it, in bursts of so many. False when something was not authentic.
  bool run(Row& cookies, Row& messages, std::size_t burst) {
    bool ok = true;
    for (std::size_t first = 0; first < kRequests; first += burst) {
      const std::span cookie_jobs = std::span(reseals_).subspan(first, burst);
      const std::span verifies = std::span(verifies_).subspan(first, burst);
      ok &= cookies.reseal(cookie_jobs);
      messages.open(verifies);
      ok &= messages.seal(std::span(seals_).subspan(first, burst));
      for (std::size_t i = 0; i < burst; ++i)
        ok &= cookie_jobs[i].authentic && verifies[i].authentic;
    }
    return ok;
  }

 private:
  Octets draw(std::size_t length) {
    Octets octets(length);
    random_.fill(octets);
    return octets;
  }

  void make(Request& r, AeadId aead, Shape shape, std::size_t i, Engine& engine) {
    const std::size_t more = shape == Shape::kMixed ? 4 * i : 0;
    const std::size_t cookies = shape == Shape::kMixed ? 1 + i % 8 : 1;
    const std::size_t cookie_length = 4 + 16 + kTagLength + 2 * key_length_;
    r.cookie_nonce = draw(16);
    r.cookie_ad = draw(4);
    r.keys = draw(2 * key_length_);
    r.cookie.resize(r.keys.size() + kTagLength);
    r.nonce = draw(parameters(aead).nonce_length);
    r.ad = draw(48 + 36 + 4 + cookie_length + more);
    r.tag.resize(kTagLength);
    r.new_cookie_nonce = draw(16);
    r.reply_nonce = draw(parameters(aead).nonce_length);
    r.reply_ad = draw(48 + 36 + more);
    r.reply_text = draw(cookies * (4 + cookie_length));
    r.reply.resize(r.reply_text.size() + kTagLength);

    const SealJob cookie{master_, r.cookie_nonce, r.cookie_ad, r.keys, r.cookie};
    const SealJob request{Bytes(r.keys).first(key_length_), r.nonce, r.ad, {}, r.tag};
    if (!engine.row(AeadId::kAesSivCmac256).seal({&cookie, 1}) ||
        !engine.row(aead).seal({&request, 1})) {
      std::abort();
    }
  }

  void add_jobs(Request& r) {
    const std::size_t sealed = 4 + 4 + 16;  // where in the reply's text the cookie's ciphertext is
    reseals_.push_back({{master_, r.cookie_nonce, r.cookie_ad, r.cookie, r.keys},
                        r.new_cookie_nonce,
                        MutableBytes(r.reply_text).subspan(sealed, r.cookie.size())});
    verifies_.push_back({Bytes(r.keys).first(key_length_), r.nonce, r.ad, r.tag, {}});
    seals_.push_back(
        {Bytes(r.keys).last(key_length_), r.reply_nonce, r.reply_ad, r.reply_text, r.reply});
  }

  std::size_t key_length_;
  RandomGenerator random_{Octets(kSeedLength, 1)};
  Octets master_ = draw(32);
  std::vector<Request> requests_;
  std::vector<ResealJob> reseals_;
  std::vector<OpenJob> verifies_;
  std::vector<SealJob> seals_;
};

void request(benchmark::State& state, Implementation implementation, AeadId aead, Shape shape) {
  Load load(aead, shape);
  Engine engine(implementation);
  Row& cookies = engine.row(AeadId::kAesSivCmac256);
  Row& messages = engine.row(aead);
  for (auto _ : state) {
    if (!load.run(cookies, messages, static_cast<std::size_t>(state.range(0)))) {
      state.SkipWithError("not authentic");
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRequests));
}

void nonce(benchmark::State& state) {
  RandomGenerator random(Octets(kSeedLength, 1));
  std::array<std::uint8_t, 16> octets{};
  for (auto _ : state) {
    random.fill(octets);
    benchmark::DoNotOptimize(octets);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(nonce);

void register_requests() {
  for (const auto& [implementation, name] : implementations()) {
    if (implementation == Implementation::kAuto || !available(implementation)) continue;
    for (const AeadParameters& aead : aead_table()) {
      const std::string number = std::to_string(static_cast<int>(aead.id));
      const auto add = [&, i = implementation, n = name](const char* shape_name, Shape shape) {
        const std::string title =
            "request/" + std::string(n) + "/aead:" + number + "/" + shape_name;
        return benchmark::RegisterBenchmark(
                   title.c_str(),
                   [i, id = aead.id, shape](benchmark::State& s) { request(s, i, id, shape); })
            ->ArgName("burst");
      };
      for (const int burst : {1, 2, 4, 8, 32, 64}) add("nts", Shape::kNts)->Arg(burst);
      for (const int burst : {1, 64}) add("mixed", Shape::kMixed)->Arg(burst);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  register_requests();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
