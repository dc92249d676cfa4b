#include "refclock/gpsd/gpsd_client.h"

#include <spdlog/spdlog.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "refclock/host_clock.h"

namespace timeball::refclock {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;
using boost::system::error_code;
using namespace std::chrono_literals;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kRetry = 1s;
// gpsd with a receiver speaks each second, and without one not at all: then we knock again.
constexpr auto kSilence = 60s;
constexpr std::string_view kWatch = "?WATCH={\"enable\":true,\"json\":true,\"pps\":true};\n";

}  // namespace

struct GpsdClient::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& context, GpsdOptions o, Received r)
      : options(std::move(o)),
        received(std::move(r)),
        resolver(context),
        socket(context),
        pause(context),
        silence(context) {}

  // Each trouble is told once, until it is over.
  void trouble(const std::string& why) {
    if (told) return;
    told = true;
    spdlog::warn("gpsd at {} port {}: {}; trying again every second", options.host, options.port,
                 why);
  }

  awaitable<void> run(std::shared_ptr<Impl>) {
    while (!stopped) {
      const error_code error = co_await connect();
      if (stopped) co_return;
      if (error) {
        ++counts.connection_failures;
        trouble(error.message());
      } else {
        told = false;
        ++counts.connected;
        spdlog::info("gpsd at {} port {}: connected", options.host, options.port);
        const std::string why = co_await read();
        if (stopped) co_return;
        ++counts.lost;
        trouble("lost: " + why);
      }
      close();
      pause.expires_after(kRetry);
      co_await pause.async_wait(kAwait);
    }
  }

  awaitable<error_code> connect() {
    const auto [unknown, found] =
        co_await resolver.async_resolve(options.host, options.port, kAwait);
    if (unknown) co_return unknown;
    const auto [error, peer] = co_await asio::async_connect(socket, found, kAwait);
    if (error) co_return error;
    const auto [unsent, size] =
        co_await asio::async_write(socket, asio::buffer(kWatch.data(), kWatch.size()), kAwait);
    co_return unsent;
  }

  // Until it ends, and why.
  awaitable<std::string> read() {
    std::string unread;
    std::array<char, 4096> arrived;
    for (;;) {
      watch_silence();
      const auto [error, size] = co_await socket.async_read_some(asio::buffer(arrived), kAwait);
      if (error) co_return silent ? "silent for a minute" : error.message();
      if (stopped) co_return "";
      unread.append(arrived.data(), size);
      take_lines(unread, host_now());
      if (unread.size() > kMaxGpsdLine) co_return "no line of gpsd is as long as this";
    }
  }

  void watch_silence() {
    silent = false;
    silence.expires_after(kSilence);
    silence.async_wait([this, weak = weak_from_this()](const error_code& cancelled) {
      const auto self = weak.lock();
      if (cancelled || !self || silence.expiry() > std::chrono::steady_clock::now()) return;
      silent = true;
      close();
    });
  }

  void take_lines(std::string& unread, HostTime arrival) {
    std::size_t begin = 0;
    for (std::size_t end = 0; (end = unread.find('\n', begin)) != std::string::npos;
         begin = end + 1) {
      std::string_view line = std::string_view(unread).substr(begin, end - begin);
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.empty()) continue;
      const auto report = parse_gpsd(line);
      ++(report ? counts.reports : counts.refused);
      if (report) received(*report, arrival);
    }
    unread.erase(0, begin);
  }

  void close() {
    error_code ignored;
    socket.close(ignored);
  }

  void stop() {
    stopped = true;
    resolver.cancel();
    close();
    pause.cancel();
    silence.cancel();
  }

  GpsdOptions options;
  Received received;
  tcp::resolver resolver;
  tcp::socket socket;
  asio::steady_timer pause;
  asio::steady_timer silence;
  GpsdCounts counts;
  bool stopped = false;
  bool silent = false;
  bool told = false;  // the log has the trouble
};

GpsdClient::GpsdClient(asio::io_context& context, GpsdOptions options, Received received)
    : impl_(std::make_shared<Impl>(context, std::move(options), std::move(received))) {}
GpsdClient::~GpsdClient() {
  impl_->stop();
}

void GpsdClient::start() {
  asio::co_spawn(impl_->socket.get_executor(), impl_->run(impl_), asio::detached);
}

const GpsdCounts& GpsdClient::counts() const {
  return impl_->counts;
}

}  // namespace timeball::refclock
