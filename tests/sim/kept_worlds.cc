#include "tests/sim/kept_worlds.h"

#include <bit>
#include <filesystem>
#include <iterator>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <type_traits>

namespace timeball::refclock::sim {
namespace {

// A line's numbers: what is wider than an octet by its bits; most are zero, and z9 is nine of
// those.
class Writer {
 public:
  void operator()(std::uint64_t number) {
    if (number == 0) {
      ++zeros_;
      return;
    }
    end_zeros();
    text_ += ' ' + std::to_string(number);
  }
  std::string line() {
    end_zeros();
    return text_ + '\n';
  }

 private:
  void end_zeros() {
    if (zeros_ != 0) text_ += " z" + std::to_string(zeros_);
    zeros_ = 0;
  }

  std::string text_;
  std::uint64_t zeros_ = 0;
};

class Reader {
 public:
  explicit Reader(std::istream& in) : in_(in) {}
  void operator()(std::uint64_t& number) {
    number = 0;
    if (zeros_ == 0 && (in_ >> std::ws).peek() == 'z') in_.ignore() >> zeros_;
    if (zeros_ != 0) {
      --zeros_;
    } else {
      in_ >> number;
    }
  }
  bool complete() { return in_ && zeros_ == 0 && (in_ >> std::ws).eof(); }

 private:
  std::istream& in_;
  std::uint64_t zeros_ = 0;
};

// One list of what is kept, for both.
template <typename Archive>
struct Fields {
  Archive& archive;

  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void operator()(T& value) {
    using Bits =
        std::conditional_t<sizeof(T) == 8, std::uint64_t,
                           std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint8_t>>;
    std::uint64_t number = std::bit_cast<Bits>(value);
    archive(number);
    value = std::bit_cast<T>(static_cast<Bits>(number));
  }
  template <typename T>
  void operator()(std::optional<T>& value) {
    bool there = value.has_value();
    (*this)(there);
    if (!there) return;
    if (!value) value.emplace();
    (*this)(*value);
  }
  void operator()(LogHistogram& histogram) { histogram.each_number(*this); }
  void operator()(HoldoverSample& sample) {
    (*this)(sample.bound_ns);
    (*this)(sample.error_ns);
    (*this)(sample.served);
  }
  void operator()(WorldResult& r) {
    (*this)(r.checks);
    (*this)(r.violations);
    (*this)(r.violations_served);
    (*this)(r.violations_after_alarm);
    (*this)(r.first_violation_s);
    (*this)(r.worst_excess_ns);
    (*this)(r.ratio);
    (*this)(r.locked_bound);
    (*this)(r.locked_error);
    for (std::optional<HoldoverSample>& sample : r.holdover) (*this)(sample);
    (*this)(r.locked_after_s);
    (*this)(r.alarm_after_s);
    (*this)(r.stopped_after_s);
    (*this)(r.readmitted_after_s);
    (*this)(r.worst_error_before_alarm_ns);
    (*this)(r.worst_served_error_ns);
    (*this)(r.alarms);
    (*this)(r.alarms_early);
    (*this)(r.served_s);
    (*this)(r.served_at_end);
  }
};

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

KeptWorlds::KeptWorlds(const std::string& path, const std::string& made_with) : path_(path) {
  const std::string header = made_with + '\n';
  std::string text = contents(path);
  if (!text.starts_with(header) && !header.starts_with(text)) {
    throw std::runtime_error(path + ": its first line is not \"" + made_with + '"');
  }
  text.resize(text.rfind('\n') + 1);  // npos + 1 is 0
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  for (std::size_t number = 2; std::getline(lines, line); ++number) {
    std::istringstream in(line);
    std::string scenario;
    std::uint64_t seed = 0;
    FinishedWorld world;
    in >> scenario >> seed;
    Reader reader(in);
    Fields<Reader> fields{reader};
    fields(world.wall_s);
    fields(world.result);
    if (!reader.complete()) {
      throw std::runtime_error(path + ": line " + std::to_string(number) + " is not a world");
    }
    worlds_[{scenario, seed}] = world;
  }
  if (std::filesystem::exists(path)) std::filesystem::resize_file(path, text.size());
  out_.open(path, std::ios::binary | std::ios::app);
  if (text.empty()) out_ << header << std::flush;
  if (!out_) throw std::runtime_error(path + ": cannot be written");
}

const FinishedWorld* KeptWorlds::find(std::string_view scenario, std::uint64_t seed) const {
  const auto found = worlds_.find({std::string(scenario), seed});
  return found == worlds_.end() ? nullptr : &found->second;
}

void KeptWorlds::append(std::string_view scenario, std::uint64_t seed, FinishedWorld world) {
  Writer writer;
  Fields<Writer> fields{writer};
  fields(world.wall_s);
  fields(world.result);
  out_ << scenario << ' ' << seed << writer.line() << std::flush;
  if (!out_) throw std::runtime_error(path_ + ": cannot be written");
}

}  // namespace timeball::refclock::sim
