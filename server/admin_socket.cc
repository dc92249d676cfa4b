#include "server/admin_socket.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>
#include <utility>

namespace timeball::server {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using asio::local::stream_protocol;
using boost::system::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kLongestCommand = 256;
constexpr std::size_t kLongestAnswer = 1 << 20;
constexpr unsigned kMostConnections = 16;
constexpr auto kDeadline = std::chrono::seconds(5);
constexpr auto kRetry = std::chrono::seconds(1);

std::string known(const AdminCommands& commands) {
  std::string names;
  for (const auto& [name, command] : commands) names += (names.empty() ? "" : ", ") + name;
  return names;
}

json::object answer(const AdminCommands& commands, std::string_view line, const ucred& peer) {
  const auto found = commands.find(line);
  if (found == commands.end()) {
    return {{"error", "no such command; there are " + known(commands)}};
  }
  if (found->second.changes) {
    spdlog::info("{}: asked by user {} (pid {})", found->first, peer.uid, peer.pid);
  }
  auto result = found->second.run();
  if (!result) return {{"error", result.error().message}};
  (*result)["ok"] = true;
  return std::move(*result);
}

// Whether somebody listens there.
bool is_alive(const std::string& path) {
  asio::io_context context;
  stream_protocol::socket socket(context);
  error_code error;
  socket.connect(stream_protocol::endpoint(path), error);
  return !error;
}

}  // namespace

struct AdminSocket::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& context, std::string p, AdminCommands c)
      : path(std::move(p)), commands(std::move(c)), acceptor(context), pause(context) {}

  asio::awaitable<void> accept(std::shared_ptr<Impl>) {
    while (acceptor.is_open()) {
      auto [error, socket] = co_await acceptor.async_accept(kAwait);
      if (!acceptor.is_open()) co_return;
      if (error) {  // out of descriptors, most likely: later
        pause.expires_after(kRetry);
        co_await pause.async_wait(kAwait);
      } else if (open < kMostConnections) {
        asio::co_spawn(acceptor.get_executor(), serve(shared_from_this(), std::move(socket)),
                       asio::detached);
      }
    }
  }

  asio::awaitable<void> serve(std::shared_ptr<Impl>, stream_protocol::socket accepted) {
    ++open;
    const auto socket = std::make_shared<stream_protocol::socket>(std::move(accepted));
    asio::steady_timer deadline(socket->get_executor(), kDeadline);
    deadline.async_wait([socket](const error_code& cancelled) {
      error_code ignored;
      if (!cancelled) socket->close(ignored);
    });
    std::string line;
    const auto [error, size] = co_await asio::async_read_until(
        *socket, asio::dynamic_buffer(line, kLongestCommand), '\n', kAwait);
    ucred peer{};
    socklen_t length = sizeof peer;
    if (!error &&
        getsockopt(socket->native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0) {
      const std::string_view command = std::string_view(line).substr(0, size - 1);
      const std::string text = json::serialize(answer(commands, command, peer)) + '\n';
      co_await asio::async_write(*socket, asio::buffer(text), kAwait);
    }
    deadline.cancel();
    --open;
  }

  const std::string path;
  const AdminCommands commands;
  stream_protocol::acceptor acceptor;
  asio::steady_timer pause;
  unsigned open = 0;
};

Result<AdminSocket> AdminSocket::open(asio::io_context& context, const std::string& path,
                                      AdminCommands commands) {
  struct stat old {};
  if (lstat(path.c_str(), &old) == 0) {
    if (!S_ISSOCK(old.st_mode)) return fail("admin.socket: " + path + " is there, and no socket");
    if (is_alive(path)) return fail("admin.socket: " + path + " is another daemon's; name another");
    unlink(path.c_str());
  }
  auto impl = std::make_shared<Impl>(context, path, std::move(commands));
  error_code error;
  impl->acceptor.open(stream_protocol(), error);
  // Nobody may connect between bind and chmod.
  const mode_t before = umask(0117);
  if (!error) impl->acceptor.bind(stream_protocol::endpoint(path), error);
  umask(before);
  if (!error) impl->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    return fail("admin.socket: " + path + ": " + error.message() +
                "; make its directory, or write \"\" to do without");
  }
  asio::co_spawn(context, impl->accept(impl), asio::detached);
  return AdminSocket(std::move(impl));
}

AdminSocket::AdminSocket(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
AdminSocket::AdminSocket(AdminSocket&&) noexcept = default;

AdminSocket::~AdminSocket() {
  if (!impl_) return;
  error_code ignored;
  impl_->acceptor.close(ignored);
  impl_->pause.cancel();
  unlink(impl_->path.c_str());
}

Result<json::object> ask_daemon(const std::string& path, const std::string& command) {
  asio::io_context context;
  stream_protocol::socket socket(context);
  error_code error;
  socket.connect(stream_protocol::endpoint(path), error);
  if (error) {
    return fail(path + ": " + error.message() +
                "; is timeballd running, and this its admin.socket?");
  }
  const timeval patience{30, 0};
  setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  asio::write(socket, asio::buffer(command + '\n'), error);
  std::string line;
  if (!error) asio::read_until(socket, asio::dynamic_buffer(line, kLongestAnswer), '\n', error);
  if (error) return fail(path + ": no answer: " + error.message());
  const json::value parsed = json::parse(line, error);
  if (error || !parsed.is_object()) return fail(path + ": an answer that is not timeballd's");
  const json::object& object = parsed.get_object();
  if (const auto* refused = object.if_contains("error")) {
    return fail(std::string(refused->as_string()));
  }
  return object;
}

}  // namespace timeball::server
