#include "refclock/leap_seconds.h"

#include <openssl/sha.h>

#include <algorithm>
#include <charconv>
#include <string>

namespace timeball::refclock {
namespace {

constexpr std::int64_t kDay = 86400;

// Splits off the part before `separator`; the whole when there is none.
std::string_view take(std::string_view& text, char separator) {
  const std::size_t end = text.find(separator);
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return part;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) break;
    line.remove_prefix(begin);
    const std::size_t end = std::min(line.find_first_of(" \t\r"), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
  return words;
}

template <class Number>
std::optional<Number> number(std::string_view word, int base = 10) {
  Number value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value, base);
  if (error != std::errc{} || end != word.data() + word.size()) return std::nullopt;
  return value;
}

// NTP seconds, 64 bits, to UTC; nothing when it is before 1972 or beyond what UtcTime holds.
std::optional<UtcTime> utc_of(std::string_view word) {
  const auto seconds = number<std::int64_t>(word);
  constexpr std::int64_t kLast = 9'000'000'000;
  if (!seconds || *seconds < 2'272'060'800 || *seconds > kNtpToUnixSeconds + kLast) {
    return std::nullopt;
  }
  return UtcTime{(*seconds - kNtpToUnixSeconds) * kNsPerSecond};
}

struct Reader {
  LeapTable table;
  std::string digits;  // what the hash is over
  std::optional<std::array<std::uint32_t, 5>> hash;
  bool updated = false;
  bool expires = false;

  // What is wrong with the line; empty when nothing is.
  std::string_view line(std::string_view line);
  std::string_view stamp(const std::vector<std::string_view>& words, UtcTime& time, bool& have);
  std::string_view words_of_hash(const std::vector<std::string_view>& words);
  std::string_view entry(std::string_view data);
};

std::string_view Reader::stamp(const std::vector<std::string_view>& words, UtcTime& time,
                               bool& have) {
  if (have) return "a second #$ or #@";
  const auto parsed = words.size() == 2 ? utc_of(words[1]) : std::nullopt;
  if (!parsed) return "no NTP time";
  time = *parsed;
  have = true;
  digits += words[1];
  return {};
}

std::string_view Reader::words_of_hash(const std::vector<std::string_view>& words) {
  if (hash) return "a second #h";
  if (words.size() != 6) return "a hash that is not five words";
  hash.emplace();
  for (std::size_t i = 0; i < 5; ++i) {
    const auto word = number<std::uint32_t>(words[i + 1], 16);
    if (!word) return "a hash that is not hexadecimal";
    (*hash)[i] = *word;
  }
  return {};
}

std::string_view Reader::entry(std::string_view data) {
  const auto words = words_of(take(data, '#'));
  if (words.empty()) return {};
  const auto from = words.size() == 2 ? utc_of(words[0]) : std::nullopt;
  const auto offset = words.size() == 2 ? number<int>(words[1]) : std::nullopt;
  if (!from || !offset) return "not \"NTP-seconds TAI-UTC\"";
  if (!table.entries.empty()) {
    const LeapTable::Entry& last = table.entries.back();
    const int change = *offset - last.tai_minus_utc_s;
    if (*from <= last.from) return "an entry that is not later than the one before";
    if (change != 1 && change != -1) return "a change of other than one second";
  } else if (*offset < 0 || *offset > 1000) {
    return "an offset that cannot be";
  }
  table.entries.push_back({*from, *offset});
  digits += words[0];
  digits += words[1];
  return {};
}

std::string_view Reader::line(std::string_view line) {
  if (!line.starts_with('#')) return entry(line);
  const auto words = words_of(line);
  if (words[0] == "#$") return stamp(words, table.updated, updated);
  if (words[0] == "#@") return stamp(words, table.expires, expires);
  if (words[0] == "#h") return words_of_hash(words);
  return {};
}

std::array<std::uint32_t, 5> sha1(std::string_view text) {
  std::array<unsigned char, SHA_DIGEST_LENGTH> digest{};
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::array<std::uint32_t, 5> words{};
  for (std::size_t i = 0; i < digest.size(); ++i) words[i / 4] = words[i / 4] << 8 | digest[i];
  return words;
}

}  // namespace

Result<LeapTable> parse_leap_seconds(std::string_view text) {
  Reader reader;
  for (int n = 1; !text.empty(); ++n) {
    const std::string_view wrong = reader.line(take(text, '\n'));
    if (!wrong.empty()) {
      return fail("leap seconds, line " + std::to_string(n) + ": " + std::string(wrong));
    }
  }
  if (!reader.expires || !reader.updated || reader.table.entries.empty()) {
    return fail("leap seconds: not a leap-seconds.list (#$, #@ or the entries are missing)");
  }
  if (!reader.hash) return fail("leap seconds: no hash (#h); fetch the file again");
  if (*reader.hash != sha1(reader.digits)) {
    return fail("leap seconds: the hash (#h) does not fit; fetch the file again");
  }
  return std::move(reader.table);
}

LeapNotice leap_notice(const LeapTable& table, UtcTime now) {
  LeapNotice notice;
  notice.source = LeapNotice::Source::kFile;
  notice.trusted = now < table.expires;
  for (const LeapTable::Entry& entry : table.entries) {
    if (entry.from <= now) {
      notice.tai_minus_utc_s = entry.tai_minus_utc_s;
    } else if (notice.tai_minus_utc_s) {
      notice.change = entry.tai_minus_utc_s > *notice.tai_minus_utc_s ? LeapIndicator::kInsert
                                                                      : LeapIndicator::kDelete;
      notice.event = entry.from;
      break;
    }
  }
  return notice;
}

void LeapSeconds::hear(const LeapNotice& notice) {
  heard_[static_cast<std::size_t>(notice.source)] = notice;
}

namespace {

std::optional<LeapEvent> event_of(const std::optional<LeapNotice>& notice) {
  if (!notice || !notice->trusted) return std::nullopt;
  if (notice->change == LeapIndicator::kInsert) return LeapEvent{notice->event, 1};
  if (notice->change == LeapIndicator::kDelete) return LeapEvent{notice->event, -1};
  return std::nullopt;
}

}  // namespace

std::optional<LeapEvent> LeapSeconds::agreed() const {
  const auto a = event_of(heard_[0]);
  return a && a == event_of(heard_[1]) ? a : std::nullopt;
}

std::optional<LeapEvent> LeapSeconds::claimed() const {
  if (agreed()) return std::nullopt;
  const auto a = event_of(heard_[0]);
  const auto b = event_of(heard_[1]);
  if (a && b) return a->first < b->first ? a : b;
  return a ? a : b;
}

LeapIndicator LeapSeconds::indicator(UtcTime now) const {
  const auto event = agreed();
  if (!event || now >= event->first || event->first - now > std::chrono::seconds(kDay)) {
    return LeapIndicator::kNone;
  }
  return event->change > 0 ? LeapIndicator::kInsert : LeapIndicator::kDelete;
}

bool LeapSeconds::unknown() const {
  return std::ranges::none_of(heard_, [](const auto& n) { return n && n->trusted; });
}

bool LeapSeconds::disagree(UtcTime now) const {
  const auto& [file, receiver] = heard_;
  if (!file || !file->trusted || !receiver || !receiver->trusted) return false;
  if (file->tai_minus_utc_s && receiver->tai_minus_utc_s &&
      *file->tai_minus_utc_s != *receiver->tai_minus_utc_s) {
    return true;
  }
  const auto event = claimed();
  return event && now < event->first && event->first - now <= std::chrono::seconds(kDay);
}

void LeapSeconds::passed(const LeapEvent& event) {
  for (auto& notice : heard_) {
    if (!notice || event_of(notice) != event) continue;
    notice->change = LeapIndicator::kNone;
    if (notice->tai_minus_utc_s) *notice->tai_minus_utc_s += event.change;
  }
}

}  // namespace timeball::refclock
