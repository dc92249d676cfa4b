#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <map>
#include <optional>

#include "bench/ke_client.h"
#include "bench/ke_exchange.h"
#include "common/base/printable.h"
#include "common/ntp/packet.h"

namespace timeball::bench {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kAtOnce = 16;

// What the exchanges under way share; all on one thread.
struct Establishment {
  asio::io_context context{1};
  const KeTls& tls;
  std::size_t wanted;
  std::vector<std::pair<nts::ClientAssociation, nts::KeResponse>> made;
  std::size_t begun = 0;
  std::string failure;
};

asio::awaitable<void> establish_some(Establishment& all) {
  while (all.begun < all.wanted && all.failure.empty()) {
    ++all.begun;
    const auto exchange = std::make_shared<KeExchange>(all.context, all.tls);
    const KeOutcome outcome = co_await exchange->run();
    nts::ClientAssociation association;
    if (outcome != KeOutcome::kDone) {
      all.failure = outcome_row(outcome).meaning;
      if (!exchange->detail().empty()) all.failure += " (" + printable(exchange->detail()) + ")";
    } else if (!exchange->export_keys(association.keys)) {
      all.failure = "OpenSSL does not export keys";
    } else {
      const nts::KeResponse& response = exchange->response();
      association.cookies.assign(response.cookies.begin(), response.cookies.end());
      all.made.emplace_back(std::move(association), response);
      co_await exchange->part(KeFarewell::kNotify);
    }
  }
}

// Where record 6 sends us, each name resolved once; without it the address of NTS-KE (RFC 8915,
// sections 4.1.7 and 4.1.8).
class NtpServers {
 public:
  NtpServers(const LoadTarget& target, bool own_server)
      : target_(target), own_server_(own_server) {}

  Result<net::Endpoint> find(const nts::KeResponse& response) {
    const std::uint16_t port = response.port.value_or(ntp::kPort);
    net::Endpoint server = target_.endpoint;
    if (response.server) {
      auto known = addresses_.find(*response.server);
      if (known == addresses_.end()) {
        const auto found = find_target(HostPort{*response.server, port}, own_server_);
        if (!found) return fail("the server names an NTP server: " + found.error().message);
        known = addresses_.emplace(*response.server, found->endpoint).first;
      }
      server = known->second;
    }
    server.port = port;
    return server;
  }

 private:
  const LoadTarget& target_;
  const bool own_server_;
  std::map<std::string, net::Endpoint> addresses_;
};

}  // namespace

Result<std::vector<KeAssociation>> establish(const LoadTarget& target,
                                             const KeClientOptions& options, std::size_t count,
                                             bool own_server) {
  const auto tls = KeTls::make(options, target);
  if (!tls) return tl::unexpected(tls.error());
  Establishment all{.tls = **tls, .wanted = count, .made = {}, .failure = {}};
  for (std::size_t i = 0; i < std::min(kAtOnce, count); ++i)
    asio::co_spawn(all.context, establish_some(all), asio::detached);
  all.context.run();
  if (!all.failure.empty())
    return fail("NTS-KE with " + target.endpoint.to_string() + " failed: " + all.failure);
  NtpServers servers(target, own_server);
  std::vector<KeAssociation> associations;
  associations.reserve(count);
  for (auto& [association, response] : all.made) {
    const auto server = servers.find(response);
    if (!server) return tl::unexpected(server.error());
    associations.push_back({std::move(association), *server});
  }
  return associations;
}

}  // namespace timeball::bench
