#include "refclock/sim/rack_server.h"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <csignal>
#include <optional>
#include <stdexcept>
#include <utility>

#include "refclock/sim/pps_device.h"
#include "refclock/sim/pty.h"
#include "refclock/sim/rack_clock.h"
#include "refclock/sim/rack_control.h"

namespace timeball::refclock::sim {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using asio::awaitable;
using asio::local::stream_protocol;
using boost::system::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kLongestCommand = 256;

constexpr std::array<const char*, kPorts.size()> kNames = {"gnss", "rubidium", "pps-gnss",
                                                           "pps-rubidium"};

// Removes what it names, however it ends.
struct Removal {
  fs::path path;
  ~Removal() {
    std::error_code ignored;
    if (!path.empty()) fs::remove(path, ignored);
  }
};

bool is_line(Port port) {
  return port == Port::kGnss || port == Port::kRubidium;
}

}  // namespace

struct RackServer::Impl {
  explicit Impl(const RackServerOptions& o)
      : options(o),
        clock(o.offset),
        rack(o.rack, clock.now()),
        timer(context),
        signals(context, SIGINT, SIGTERM),
        acceptor(context) {
    make_directory();
    listen();
    follow_plugs();
  }

  void make_directory() const {
    std::error_code error;
    fs::create_directories(options.directory, error);
    if (error) {
      throw std::runtime_error("cannot make " + options.directory.string() + ": " +
                               error.message() + "; give another directory");
    }
  }

  void listen() {
    const std::string path = options.directory / "control";
    if (path.size() >= 100) throw std::runtime_error(path + ": too long; give a shorter directory");
    const stream_protocol::endpoint endpoint(path);
    error_code error;
    stream_protocol::socket other(context);
    other.connect(endpoint, error);
    if (!error) {
      throw std::runtime_error(options.directory.string() +
                               " is in use by another refclock-sim; give another directory");
    }
    std::error_code ignored;
    if (fs::is_socket(path, ignored)) fs::remove(path, ignored);
    acceptor.open(endpoint.protocol());
    acceptor.bind(endpoint, error);
    if (error) throw std::runtime_error("cannot make " + path + ": " + error.message());
    control.path = path;
    acceptor.listen();
  }

  // What is plugged in is there, what is not is not.
  void follow_plugs() {
    for (const Port port : kPorts) {
      const auto at = static_cast<std::size_t>(port);
      const fs::path path = options.directory / kNames[at];
      if (!rack.plugged(port)) {
        lines[at].reset();
        pulses[at].reset();
      } else if (is_line(port) && !lines[at]) {
        lines[at] = std::make_unique<Pty>(context, path,
                                          [this, port](Bytes octets) { heard(port, octets); });
      } else if (!is_line(port) && !pulses[at]) {
        pulses[at] = std::make_unique<PpsDevice>(path);
      }
    }
  }

  void heard(Port port, Bytes octets) {
    rack.advance(clock.now());
    rack.write(port, octets);
    go_on();
  }

  // What the rack has for the host by now; then sleeps until it will have more.
  void go_on() {
    rack.advance(clock.now());
    for (const StampedEdge& edge : rack.take_edges()) give(edge);
    for (const Port port : kPorts) {
      if (!is_line(port)) continue;
      const auto octets = rack.read(port);
      if (const auto& line = lines[static_cast<std::size_t>(port)]) line->send(octets);
    }
    timer.expires_after(rack.next() - clock.now());
    timer.async_wait([this](error_code error) {
      if (!error) go_on();
    });
  }

  void give(const StampedEdge& edge) {
    const auto& device = pulses[static_cast<std::size_t>(edge.port)];
    if (!device) return;
    const KernelTime stamp = clock.read().kernel_at(edge.stamp);
    if (edge.leading) {
      device->assert_edge(stamp);
    } else {
      device->clear_edge(stamp);
    }
  }

  std::string obey(std::string_view line) {
    const RackClock::Pair now = clock.read();
    rack.advance(now.truth);
    std::string answer = execute(rack, line, now.kernel);
    try {
      follow_plugs();
    } catch (const std::runtime_error& error) {
      answer = std::string("error: ") + error.what();
    }
    go_on();
    return answer + "\n";
  }

  awaitable<void> converse(stream_protocol::socket socket) {
    std::string text;
    for (;;) {
      const auto [error, size] = co_await asio::async_read_until(
          socket, asio::dynamic_buffer(text, kLongestCommand), '\n', kAwait);
      const bool too_long = error == asio::error::not_found;
      if (error && !too_long) co_return;
      const std::string answer = too_long ? "error: no command is longer than 256 octets\n"
                                          : obey(std::string_view(text).substr(0, size - 1));
      text.erase(0, size);
      const auto [lost, sent] = co_await asio::async_write(socket, asio::buffer(answer), kAwait);
      if (lost || too_long) co_return;
    }
  }

  awaitable<void> accept() {
    for (;;) {
      auto [error, socket] = co_await acceptor.async_accept(kAwait);
      if (error) co_return;
      asio::co_spawn(context, converse(std::move(socket)), asio::detached);
    }
  }

  void run() {
    signals.async_wait([this](error_code, int) { context.stop(); });
    asio::co_spawn(context, accept(), asio::detached);
    go_on();
    context.run();
  }

  RackServerOptions options;
  RackClock clock;
  Rack rack;
  asio::io_context context;
  asio::steady_timer timer;
  asio::signal_set signals;
  stream_protocol::acceptor acceptor;
  Removal control;
  std::array<std::unique_ptr<Pty>, kPorts.size()> lines;
  std::array<std::unique_ptr<PpsDevice>, kPorts.size()> pulses;
};

std::string tell_rack(const fs::path& directory, const std::string& command) {
  stream_protocol::iostream control{stream_protocol::endpoint(directory / "control")};
  control << command << std::endl;
  std::string answer;
  if (std::getline(control, answer)) return answer;
  throw std::runtime_error("nobody serves " + directory.string() +
                           "; start refclock-sim with that directory first");
}

RackServer::RackServer(const RackServerOptions& options) : impl_(std::make_unique<Impl>(options)) {}
RackServer::~RackServer() = default;

std::string RackServer::devices() const {
  std::string text;
  for (const Port port : kPorts) {
    if (impl_->rack.has(port)) text += std::string(kNames[static_cast<std::size_t>(port)]) + ", ";
  }
  return text + "control";
}

void RackServer::run() {
  impl_->run();
}

}  // namespace timeball::refclock::sim
