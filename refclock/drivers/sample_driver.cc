#include "refclock/drivers/sample_driver.h"

#include <sys/stat.h>
#include <unistd.h>

#include <stdexcept>
#include <utility>

namespace timeball::refclock {
namespace {

namespace asio = boost::asio;
using Protocol = asio::local::datagram_protocol;

}  // namespace

SampleDriver::SampleDriver(asio::io_context& context, const SampleOptions& options, Observe observe)
    : options_(options), observe_(std::move(observe)), clock_(kernel_calls()), socket_(context) {
  status_.device = options_.unit ? "shm " + std::to_string(*options_.unit) : options_.path;
  if (options_.unit) {
    auto segment = NtpShm::attach(*options_.unit);
    if (!segment) throw std::runtime_error(segment.error().message);
    segment_.emplace(std::move(*segment));
    return;
  }
  struct stat old {};
  if (lstat(options_.path.c_str(), &old) == 0 && S_ISSOCK(old.st_mode)) {
    unlink(options_.path.c_str());  // of a process that has ended
  }
  try {
    socket_.open(Protocol());
    socket_.bind(Protocol::endpoint(options_.path));
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error(options_.path + ": " + error.code().message());
  }
  chmod(options_.path.c_str(), 0660);
}

SampleDriver::~SampleDriver() {
  if (socket_.is_open()) unlink(options_.path.c_str());
}

void SampleDriver::start() {
  if (socket_.is_open()) receive();
}

void SampleDriver::receive() {
  socket_.async_receive(
      asio::buffer(datagram_), [this](const boost::system::error_code& error, std::size_t size) {
        if (error) return;
        if (const auto sample = parse_sock_datagram(Bytes(datagram_).first(size))) {
          take(*sample);
        } else {
          ++status_.refused;
        }
        receive();
      });
}

void SampleDriver::tick() {
  if (!segment_) return;
  ShmReading reading = segment_->read();
  for (int i = 0; i < 3 && reading.outcome == ShmReading::Outcome::kClash; ++i) {
    reading = segment_->read();
  }
  if (reading.outcome == ShmReading::Outcome::kSample) return take(reading.sample);
  if (reading.outcome != ShmReading::Outcome::kNone) ++status_.refused;
}

// A pulse's sample names no second: the pps driver is for these.
void SampleDriver::take(const ExternalSample& sample) {
  const auto at = clock_.convert(sample.at);
  if (!at || sample.pulse) {
    ++status_.refused;
    return;
  }
  ++status_.samples;
  status_.offset = sample.offset;
  observe_(TimeSample{options_.source, at->at, UtcTime{sample.at.ns + sample.offset.count()},
                      options_.error + at->error});
}

}  // namespace timeball::refclock
