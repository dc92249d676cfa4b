#include "refclock/rubidium/poller.h"

#include <algorithm>
#include <utility>

#include "common/base/printable.h"
#include "refclock/rubidium/dialect.h"

namespace timeball::refclock::rubidium {
namespace {

constexpr std::uint8_t kXon = 0x11;
constexpr std::uint8_t kXoff = 0x13;
constexpr auto kLongestPause = std::chrono::seconds(10);  // XOFF whose XON was lost
// Half a line that did not go on for so long belongs to nothing.
constexpr auto kLineBreak = std::chrono::milliseconds(200);

std::string_view text_of(Bytes b) {
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

}  // namespace

struct Poller::Scheduled {
  Poll poll;
  HostTime due;
};

Poller::Poller(std::unique_ptr<Dialect> dialect) : dialect_(std::move(dialect)) {
  for (const Poll& poll : dialect_->schedule()) schedule_.push_back({poll, {}});
}
Poller::~Poller() = default;
Poller::Poller(Poller&&) noexcept = default;
Poller& Poller::operator=(Poller&&) noexcept = default;

Report Poller::step(HostTime now, Bytes arrived) {
  Report report;
  receive(now, arrived, report);
  read_messages(now, report);
  expire(now, report);
  ask(now, report);
  return report;
}

HostTime Poller::next() const {
  if (asked_) return deadline_;
  HostTime next = std::max(quiet_until_, line_ends());
  if (paused_) next = std::max(next, paused_until_);
  if (resynchronising_ || !queue_.empty()) return next;
  const auto first =
      std::min_element(schedule_.begin(), schedule_.end(),
                       [](const Scheduled& a, const Scheduled& b) { return a.due < b.due; });
  return first == schedule_.end() ? next + kLongestPause : std::max(next, first->due);
}

std::optional<double> Poller::steer(double y) {
  const auto steering = dialect_->steer(y);
  if (!steering) return std::nullopt;
  // One word is in force at a time: an older one that is still waiting is never sent.
  std::erase_if(queue_, [&](const Request& r) { return r.tag == steering->request.tag; });
  queue_.push_back(steering->request);
  return steering->applied;
}

void Poller::lock_pin(bool locked) {
  dialect_->lock_pin(locked);
}

void Poller::receive(HostTime now, Bytes arrived, Report& report) {
  if (!received_.empty() && now - last_octet_ >= kLineBreak) drop_garbage(received_.size(), report);
  if (!arrived.empty()) last_octet_ = now;
  const bool flow = dialect_->traits().xon_xoff;
  for (const std::uint8_t octet : arrived) {
    if (flow && (octet == kXon || octet == kXoff)) {
      paused_ = octet == kXoff;
      paused_until_ = now + kLongestPause;
    } else {
      received_.push_back(octet);
    }
  }
}

void Poller::drop_garbage(std::size_t length, Report& report) {
  counts_.garbage_octets += length;
  if (!std::exchange(noise_told_, true)) {
    const Bytes head = Bytes(received_).first(std::min<std::size_t>(length, 32));
    report.events.push_back({Event::Kind::kGarbage, printable(text_of(head))});
  }
  received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(length));
}

void Poller::read_messages(HostTime now, Report& report) {
  while (!received_.empty()) {
    const Split split = dialect_->split(received_);
    if (split.kind == Split::Kind::kIncomplete) return;
    if (split.kind == Split::Kind::kGarbage) {
      drop_garbage(split.length, report);
      continue;
    }
    const auto end = received_.begin() + static_cast<std::ptrdiff_t>(split.length);
    const std::vector<std::uint8_t> message(received_.begin(), end);
    received_.erase(received_.begin(), end);
    if (split.kind == Split::Kind::kMessage) understand(now, message, report);
  }
}

void Poller::understand(HostTime now, Bytes message, Report& report) {
  std::vector<Request> then;
  switch (dialect_->read(asked_.get(), text_of(message), now, report, then)) {
    case Meaning::kAnswer:
      ++counts_.answers;
      last_answer_ = now;
      resynchronising_ = lost_ = noise_told_ = false;
      asked_.reset();
      break;
    case Meaning::kRefusal:
      ++counts_.refused;
      last_answer_ = now;
      report.events.push_back({Event::Kind::kRefused, printable(text_of(message))});
      asked_.reset();
      break;
    case Meaning::kPart:
      break;
    case Meaning::kRestart:
      ++counts_.restarts;
      queue_.clear();
      resynchronise();
      break;
    case Meaning::kUnexpected:
      ++counts_.unexpected;
      // While lost, the answers to older questions come in: that is what the fence is for.
      if (!resynchronising_ && !std::exchange(noise_told_, true)) {
        report.events.push_back({Event::Kind::kUnexpected, printable(text_of(message))});
      }
      break;
  }
  queue_.insert(queue_.begin(), then.begin(), then.end());
}

void Poller::expire(HostTime now, Report& report) {
  if (!asked_ || now < deadline_) return;
  ++counts_.timeouts;
  if (!std::exchange(lost_, true)) {
    report.events.push_back({Event::Kind::kLost, printable(asked_->octets)});
  }
  resynchronise();
}

void Poller::resynchronise() {
  ++counts_.resynchronisations;
  resynchronising_ = true;
  asked_.reset();
}

std::optional<Request> Poller::choose(HostTime now) {
  if (resynchronising_) return dialect_->fence();
  if (!queue_.empty()) {
    Request first = std::move(queue_.front());
    queue_.erase(queue_.begin());
    return first;
  }
  const auto first =
      std::min_element(schedule_.begin(), schedule_.end(),
                       [](const Scheduled& a, const Scheduled& b) { return a.due < b.due; });
  if (first == schedule_.end() || first->due > now) return std::nullopt;
  // From the time it was due, so that the period holds; a poll that was missed is not made up for.
  first->due = first->due + first->poll.period;
  if (first->due <= now) first->due = now + first->poll.period;
  return first->poll.request;
}

// While half a line is there nothing is asked: its other half would be taken for the answer.
HostTime Poller::line_ends() const {
  const bool waits = !received_.empty() && !dialect_->traits().speaks_unasked;
  return waits ? last_octet_ + kLineBreak : HostTime{};
}

void Poller::ask(HostTime now, Report& report) {
  if (paused_ && now >= paused_until_) paused_ = false;
  if (asked_ || paused_ || now < quiet_until_ || now < line_ends()) return;
  auto request = choose(now);
  if (!request) return;
  ++counts_.questions;
  report.write.assign(request->octets.begin(), request->octets.end());
  if (request->answered) {
    deadline_ = now + dialect_->traits().timeout;
    asked_ = std::make_unique<Request>(*std::move(request));
  } else {
    quiet_until_ = now + dialect_->traits().pause;
  }
}

LineSettings line_settings(Model model) {
  switch (model) {
    case Model::kPrs10:
      return {{9600}, true};
    case Model::kSa5x:
      return {{57600}, false};
    case Model::kSa22c:
      return {{57600, 9600}, false};  // the X99 speaks 9600
    case Model::kSpectratime:
    case Model::kMro50:
    case Model::kFe5680a:
      return {{9600}, false};
  }
  return {};
}

Result<Poller> make_poller(const Options& options) {
  const bool self = options.wiring == Wiring::kSelfDisciplined;
  switch (options.model) {
    case Model::kPrs10:
      return Poller(make_prs10(options.wiring));
    case Model::kSa5x:
      return Poller(make_sa5x(options.wiring));
    case Model::kSa22c:
      return Poller(make_sa22c(options.wiring));
    case Model::kSpectratime:
      return Poller(make_spectratime(options.wiring));
    case Model::kMro50:
      if (self) return fail("mro50 has no loop of its own: use host-steered or paper-clock");
      return Poller(make_mro50(options.wiring));
    case Model::kFe5680a:
      if (self) return fail("fe5680a has no loop of its own: use host-steered or paper-clock");
      if (options.wiring == Wiring::kHostSteered && !(options.fe5680a_step > 0)) {
        return fail("fe5680a differs between units: measure the frequency of one count and set it");
      }
      return Poller(make_fe5680a(options.wiring, options.fe5680a_step));
  }
  return fail("unknown rubidium model");
}

std::size_t filler(Bytes received) {
  const auto is_filler = [](std::uint8_t c) { return c == '\r' || c == '\n' || c == 0; };
  const auto first = std::find_if_not(received.begin(), received.end(), is_filler);
  return static_cast<std::size_t>(first - received.begin());
}

Split split_line(Bytes received, std::size_t longest) {
  const std::size_t blank = filler(received);
  if (blank > 0) return {Split::Kind::kFiller, blank};
  const auto is_end = [](std::uint8_t c) { return c == '\r' || c == '\n'; };
  const auto is_text = [](std::uint8_t c) { return (c >= 0x20 && c < 0x7f) || c == '\t'; };
  const auto end = std::find_if(received.begin(), received.end(), is_end);
  const auto size = static_cast<std::size_t>(end - received.begin());
  if (size > longest) return {Split::Kind::kGarbage, size};
  if (end == received.end()) return {};
  const bool text = std::all_of(received.begin(), end, is_text);
  return {text ? Split::Kind::kMessage : Split::Kind::kGarbage, size + 1};
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank(" \t\r\n\0", 5);
  const auto first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::vector<std::string_view> fields(std::string_view text, char separator) {
  std::vector<std::string_view> found;
  while (true) {
    const auto end = text.find(separator);
    found.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return found;
    text.remove_prefix(end + 1);
  }
}

}  // namespace timeball::refclock::rubidium
