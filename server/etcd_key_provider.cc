#include "server/etcd_key_provider.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "common/base/seqlock.h"
#include "server/clocks.h"
#include "server/cluster_member.h"
#include "server/etcd_client.h"
#include "server/file.h"
#include "server/host_name.h"

namespace timeball::server {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using asio::awaitable;
using namespace std::chrono_literals;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kInterval = 1s;        // between reads
constexpr auto kLongestBackoff = 8s;  // between tries to watch
constexpr auto kLook = 500ms;         // for whether etcd has fallen silent
constexpr std::int64_t kLeaseSeconds = 10;
constexpr auto kRenew = 3s;  // of the lease
constexpr std::size_t kMaxPassword = 1024;

Result<ClusterKeys> read_cluster_keys(const std::string& name) {
  const auto text = read_secret("etcd.key_file", name, kMaxClusterKeyFileLength);
  if (!text) return tl::unexpected(text.error());
  auto keys = parse_cluster_keys(*text);
  if (!keys) return fail(fmt::format("etcd.key_file {}: {}", name, keys.error().message));
  return keys;
}

// ---- Requests.

// The whole of a transaction: what must hold, and what is done then.
json::object transaction(json::array compare, json::array success) {
  return {{"compare", std::move(compare)}, {"success", std::move(success)}};
}

json::object range(const std::string& key) {
  const json::object range{{"key", base64(key)}};
  return {{"request_range", range}};
}

json::object unchanged_since(std::int64_t revision, const std::string& key) {
  return {{"key", base64(key)},
          {"target", "MOD"},
          {"result", "EQUAL"},
          {"mod_revision", std::to_string(revision)}};
}

json::object put_request(const std::string& key, const std::string& value, std::int64_t lease) {
  const json::object put{
      {"key", base64(key)}, {"value", base64(value)}, {"lease", std::to_string(lease)}};
  return {{"request_put", put}};
}

// ---- Answers.

bool succeeded(const Result<json::object>& answer) {
  return answer && answer->if_contains("succeeded");  // what is false is left out
}

// The number at outer.inner, 0 where there is none.
std::int64_t number_in(const Result<json::object>& answer, std::string_view outer,
                       std::string_view inner) {
  const auto* object = answer ? answer->if_contains(outer) : nullptr;
  return object != nullptr && object->is_object() ? etcd_number(object->get_object(), inner) : 0;
}

// What one read found.
struct Found {
  std::optional<std::string> document;
  std::int64_t revision = 0;          // of the document's last change; 0: there is none
  std::optional<std::int64_t> lease;  // of who rotates
};

// The one entry, if any, of a range response.
const json::object* entry_of(const json::value& response) {
  const auto* range = response.as_object().if_contains("response_range");
  const auto* entries = range != nullptr ? range->as_object().if_contains("kvs") : nullptr;
  return entries != nullptr && !entries->as_array().empty() ? &entries->as_array()[0].as_object()
                                                            : nullptr;
}

// Throws what Boost.JSON throws where etcd's answer has another shape.
Found parse_found(const json::object& answer) {
  Found found;
  const json::array& responses = answer.at("responses").as_array();
  if (const json::object* keys = entry_of(responses.at(0))) {
    const auto* value = keys->if_contains("value");
    found.document =
        value != nullptr ? from_base64(value->as_string()).value_or("") : std::string();
    found.revision = etcd_number(*keys, "mod_revision");
  }
  if (const json::object* rotator = entry_of(responses.at(1))) {
    found.lease = etcd_number(*rotator, "lease");
  }
  return found;
}

enum class Change : std::uint8_t { kRotate, kRekey };

// An operator's command under way.
struct Command {
  Change change = Change::kRotate;
  std::promise<Result<void>> done;
};

}  // namespace

struct EtcdKeyProvider::Impl {
  Impl(const KeysConfig& k, const EtcdConfig& e, EntropySource s, ClusterKeys cluster)
      : keys_config(k),
        config(e),
        entropy(std::move(s)),
        keys_key("/timeball/" + e.cluster + "/keys"),
        rotator_key("/timeball/" + e.cluster + "/rotator"),
        member({e.cluster, k.rotation, k.keep}, std::move(cluster)) {}

  // ---- What the threads share.

  void publish() {
    const nts::KeyRing& ring = member.ring();
    const bool newest = in_contact && refused.empty();
    keys.publish(
        std::make_shared<const nts::KeyRing>(newest || ring.empty() ? ring : ring.cut_off()));
  }

  void publish_status() {
    MasterKeyStatus s;
    if (!member.empty()) {
      s.current_id = member.ring().current().id;
      s.generations = static_cast<std::uint32_t>(member.ring().generations().size());
      s.current_since = member.current_since();
      s.next_rotation = member.next_rotation();
    }
    s.write_failures = write_failures;
    s.cluster = {in_contact, lease.has_value(), !refused.empty(),
                 contact,    member.sequence(), failures};
    status.store(s);
    const std::lock_guard lock(shared_mutex);
    shared_document = member.document();
    shared_trouble = !in_contact ? "etcd does not answer: " + trouble : refused;
  }

  // ---- The local copy.

  Result<void> restore() {
    if (keys_config.file.empty()) return {};
    ::unlink(temporary_name(keys_config.file).c_str());  // left behind by a crash
    const auto copy = read_key_file(keys_config.file, kMaxDocumentLength);
    const auto refuse = [&](const std::string& why) {
      return fail(fmt::format("keys.file {}: {}. Move it away to begin from etcd alone.",
                              keys_config.file, why));
    };
    if (!copy) return refuse(copy.error().message);
    if (!*copy) return {};
    const auto taken = member.take(**copy, read_monotonic_time(), read_kernel_time());
    if (taken != ClusterMember::Taken::kNew) return refuse(member.refusal());
    spdlog::info("cluster {}: keys from the local copy {}, sequence {}", config.cluster,
                 keys_config.file, member.sequence());
    publish();
    return {};
  }

  void keep_copy() {
    if (keys_config.file.empty()) return;
    const Result<void> done = replace_file(keys_config.file, member.document(), 0600);
    if (done) return;
    ++write_failures;
    spdlog::error("keys.file {} cannot be written: {}. A restart without etcd begins without keys",
                  keys_config.file, done.error().message);
  }

  // ---- Contact.

  void heard() {
    contact = read_monotonic_time();
    if (in_contact) return;
    in_contact = true;
    if (contact_lost) spdlog::info("cluster {}: etcd answers again", config.cluster);
    contact_lost = false;
    if (!member.empty()) publish();
  }

  void not_heard(const std::string& why) {
    ++failures;
    trouble = why;
    fail_commands("etcd does not answer: " + why);
    publish_status();
  }

  // Once a member has been alone for too long.
  void look() {
    const MonotonicTime now = read_monotonic_time();
    if (contact_lost || now - std::max(contact, started) < kSilence) return;
    contact_lost = true;
    in_contact = false;
    lease.reset();
    spdlog::error("cluster {}: cut off from etcd ({}): {}", config.cluster,
                  trouble.empty() ? "no answer in time" : trouble,
                  member.empty() ? "no keys yet, NTS waits for them"
                                 : "going on with the keys that are here");
    publish();
    publish_status();
  }

  // ---- Reading.

  awaitable<Result<Found>> read() {
    json::object request = transaction({}, {range(keys_key), range(rotator_key)});
    const auto answer = co_await client->call("/v3/kv/txn", std::move(request));
    if (!answer) co_return tl::unexpected(answer.error());
    try {
      co_return parse_found(*answer);
    } catch (const std::exception&) {
      co_return fail("an answer that is not etcd's");
    }
  }

  // Whether the document at hand may be replaced. One that is sealed under another cluster key:
  // that may have been put into the file meanwhile.
  bool take(const std::string& document) {
    const auto offer = [&] {
      return member.take(document, read_monotonic_time(), read_kernel_time());
    };
    auto taken = offer();
    if (taken == ClusterMember::Taken::kUnreadable) {
      if (auto fresh = read_cluster_keys(config.key_file)) {
        member.use(std::move(*fresh));
        taken = offer();
      }
    }
    if (taken == ClusterMember::Taken::kUnreadable) {
      if (std::exchange(refused, member.refusal()) == member.refusal()) return false;
      spdlog::error("cluster {}: what lies in etcd is refused: {}. The keys that are here stay",
                    config.cluster, refused);
      publish();
      return false;
    }
    const bool mended = !std::exchange(refused, std::string()).empty();
    const bool is_new = taken == ClusterMember::Taken::kNew;
    if (is_new) keep_copy();
    if (is_new || mended) publish();
    if (is_new) {
      spdlog::info("cluster {}: sequence {}, current {:08x}, {} generations", config.cluster,
                   member.sequence(), member.ring().current().id,
                   member.ring().generations().size());
    }
    older = taken == ClusterMember::Taken::kOlder;
    return true;
  }

  // ---- Who rotates.

  awaitable<void> renew_lease() {
    const MonotonicTime now = read_monotonic_time();
    if (now - renewed < kRenew) co_return;
    json::object request{{"ID", std::to_string(*lease)}};
    const auto answer = co_await client->call("/v3/lease/keepalive", std::move(request));
    const bool alive = number_in(answer, "result", "TTL") > 0;
    if (alive) {
      renewed = now;
    } else {
      lease.reset();
    }
  }

  awaitable<void> campaign() {
    json::object wanted{{"TTL", kLeaseSeconds}};
    const auto granted = co_await client->call("/v3/lease/grant", std::move(wanted));
    const std::int64_t id = granted ? etcd_number(*granted, "ID") : 0;
    if (id == 0) co_return;
    json::object request =
        transaction({unchanged_since(0, rotator_key)}, {put_request(rotator_key, host_name(), id)});
    const auto answer = co_await client->call("/v3/kv/txn", std::move(request));
    if (!succeeded(answer)) co_return;
    lease = id;
    renewed = read_monotonic_time();
    spdlog::info("cluster {}: this member rotates the keys", config.cluster);
  }

  // ---- Writing.

  // In the place of what was found. On success it is in use here.
  awaitable<Result<void>> put(const Found& found, Result<std::string> document) {
    if (!document) co_return fail(document.error().message);
    json::object request = transaction({unchanged_since(found.revision, keys_key)},
                                       {put_request(keys_key, *document, 0)});
    const auto answer = co_await client->call("/v3/kv/txn", std::move(request));
    if (!answer) co_return tl::unexpected(answer.error());
    if (!succeeded(answer)) co_return fail("another member was faster; try again");
    take(*document);
    co_await compact(number_in(answer, "header", "revision"));
    co_return Result<void>();
  }

  // Takes what was replaced out of etcd's history. Others may have done so, too.
  awaitable<void> compact(std::int64_t revision) {
    json::object request{{"revision", std::to_string(revision)}, {"physical", true}};
    (void)co_await client->call("/v3/kv/compaction", std::move(request));
  }

  Result<std::string> document_for(Change change) const {
    const KernelTime wall = read_kernel_time();
    return change == Change::kRekey ? member.rekeyed(entropy, wall) : member.rotated(entropy, wall);
  }

  bool rotation_due() const {
    return lease && (member.empty() || read_monotonic_time() >= member.next_rotation());
  }

  // Whatever must be written, if anything.
  awaitable<void> write(const Found& found) {
    if (std::optional<Command> ordered = take_command()) {
      Result<void> done = co_await carry_out(ordered->change, found);
      if (!done) spdlog::error("cluster {}: {}", config.cluster, done.error().message);
      publish_status();
      co_return ordered->done.set_value(std::move(done));
    }
    Result<void> done;
    if (!member.empty() && (older || !found.document)) {
      spdlog::warn("cluster {}: etcd holds {} keys than this member: putting those in use back",
                   config.cluster, found.document ? "older" : "no other");
      done = co_await put(found, member.again(entropy));
    } else if (rotation_due()) {
      done = co_await put(found, document_for(Change::kRotate));
    }
    if (!done) spdlog::warn("cluster {}: {}", config.cluster, done.error().message);
  }

  awaitable<Result<void>> carry_out(Change change, const Found& found) {
    const Duration age = read_monotonic_time() - member.current_since();
    if (change == Change::kRotate && !member.empty() && age < kSpread) {
      co_return fail("rotated a moment ago; give all members 4 s to hear of it");
    }
    co_return co_await put(found, document_for(change));
  }

  // ---- The thread.

  awaitable<void> round() {
    const Result<Found> found = co_await read();
    if (!found) co_return not_heard(found.error().message);
    older = false;
    const bool usable = !found->document || take(*found->document);
    heard();  // only now: until it knows the newest keys a member is cut off
    if (!usable) {
      fail_commands("what lies in etcd is refused: " + refused);
      co_return publish_status();
    }
    if (found->lease && found->lease == lease) {
      co_await renew_lease();
    } else {
      lease.reset();
      if (!found->lease) co_await campaign();
    }
    co_await write(*found);
    publish_status();
  }

  awaitable<void> keep_reading() {
    for (;;) {
      co_await round();
      if (std::exchange(told, false)) continue;
      pause.expires_after(kInterval);
      co_await pause.async_wait(kAwait);
      told = false;
    }
  }

  // At once.
  void read_now() {
    told = true;
    pause.cancel();
  }

  awaitable<void> keep_watching() {
    asio::steady_timer timer(context);
    std::chrono::seconds backoff = 1s;
    for (;;) {
      const MonotonicTime begun = read_monotonic_time();
      const Error end = co_await client->watch(keys_key, [this] { read_now(); });
      backoff = read_monotonic_time() - begun > 1min ? 1s : std::min(2 * backoff, kLongestBackoff);
      spdlog::debug("cluster {}: watch: {}", config.cluster, end.message);
      timer.expires_after(backoff);
      co_await timer.async_wait(kAwait);
    }
  }

  awaitable<void> keep_looking() {
    asio::steady_timer timer(context);
    for (;;) {
      timer.expires_after(kLook);
      co_await timer.async_wait(kAwait);
      look();
    }
  }

  void start() {
    started = read_monotonic_time();
    publish_status();
    for (auto loop : {&Impl::keep_reading, &Impl::keep_watching, &Impl::keep_looking}) {
      asio::co_spawn(context, (this->*loop)(), asio::detached);
    }
    thread = std::thread([this] {
      ::pthread_setname_np(::pthread_self(), "etcd");
      context.run();
    });
  }

  // ---- Commands.

  std::optional<Command> take_command() {
    const std::lock_guard lock(shared_mutex);
    return std::exchange(command, std::nullopt);
  }

  void fail_commands(const std::string& why) {
    if (std::optional<Command> waiting = take_command()) waiting->done.set_value(fail(why));
  }

  Result<void> order(Change change) {
    Command ordered{change, {}};
    std::future<Result<void>> done = ordered.done.get_future();
    {
      const std::lock_guard lock(shared_mutex);
      if (command) return fail("another command is under way; try again");
      command = std::move(ordered);
    }
    asio::post(context, [this] { read_now(); });
    if (done.wait_for(kPatience) == std::future_status::ready) return done.get();
    const std::lock_guard lock(shared_mutex);
    command.reset();
    return fail("etcd does not answer; nothing is changed, as far as is known here");
  }

  const KeysConfig keys_config;
  const EtcdConfig config;
  const EntropySource entropy;
  const std::string keys_key;
  const std::string rotator_key;

  asio::io_context context{1};
  std::unique_ptr<EtcdClient> client;
  asio::steady_timer pause{context};
  std::thread thread;

  // The thread's own.
  ClusterMember member;
  bool in_contact = false;
  bool contact_lost = false;
  bool told = false;
  bool older = false;  // what lies in etcd, than what is in use
  MonotonicTime started;
  MonotonicTime contact;
  MonotonicTime renewed;
  std::optional<std::int64_t> lease;  // while this member rotates
  std::string refused;
  std::string trouble;
  std::uint64_t failures = 0;
  std::uint64_t write_failures = 0;

  Published<nts::KeyRing> keys{std::make_shared<const nts::KeyRing>()};
  Seqlock<MasterKeyStatus> status{MasterKeyStatus{}};
  mutable std::mutex shared_mutex;
  std::optional<Command> command;
  std::string shared_document;
  std::string shared_trouble;
};

Result<std::unique_ptr<EtcdKeyProvider>> EtcdKeyProvider::open(const KeysConfig& keys,
                                                               const EtcdConfig& etcd,
                                                               EntropySource entropy) {
  auto cluster = read_cluster_keys(etcd.key_file);
  if (!cluster) return tl::unexpected(cluster.error());
  std::string password;
  if (!etcd.password_file.empty()) {
    const auto text = read_secret("etcd.password_file", etcd.password_file, kMaxPassword);
    if (!text) return tl::unexpected(text.error());
    password = text->substr(0, text->find('\n'));
  }
  auto impl = std::make_unique<Impl>(keys, etcd, std::move(entropy), std::move(*cluster));
  auto client = EtcdClient::make(impl->context, etcd, std::move(password));
  if (!client) return tl::unexpected(client.error());
  impl->client = std::move(*client);
  if (auto done = impl->restore(); !done) return tl::unexpected(done.error());
  return std::unique_ptr<EtcdKeyProvider>(new EtcdKeyProvider(std::move(impl)));
}

EtcdKeyProvider::EtcdKeyProvider(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

EtcdKeyProvider::~EtcdKeyProvider() {
  impl_->context.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

void EtcdKeyProvider::start() {
  impl_->start();
}

const Published<nts::KeyRing>& EtcdKeyProvider::keys() const {
  return impl_->keys;
}

MasterKeyStatus EtcdKeyProvider::status() const {
  return impl_->status.load();
}

Result<void> EtcdKeyProvider::rotate(MonotonicTime, KernelTime) {
  return impl_->order(Change::kRotate);
}

Result<void> EtcdKeyProvider::rekey(MonotonicTime, KernelTime) {
  return impl_->order(Change::kRekey);
}

Result<void> EtcdKeyProvider::verify() const {
  std::string document;
  {
    const std::lock_guard lock(impl_->shared_mutex);
    if (!impl_->shared_trouble.empty()) return fail(impl_->shared_trouble);
    document = impl_->shared_document;
  }
  const std::string& path = impl_->keys_config.file;
  if (path.empty()) return {};
  const auto copy = read_key_file(path, kMaxDocumentLength);
  if (!copy) return fail(fmt::format("keys.file {}: {}", path, copy.error().message));
  if (*copy && std::string_view(**copy) == document) return {};
  return fail(fmt::format("keys.file {} does not hold the keys in use; see the log", path));
}

}  // namespace timeball::server
