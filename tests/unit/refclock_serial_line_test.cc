// SerialLine over pseudo-terminals: what comes and goes, unplugging, other processes.
#include "refclock/serial_line.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <string>

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

// The device's side of a line, at a path that stays while devices come and go.
class Device {
 public:
  explicit Device(const fs::path& path) : path_(path) {
    master_ = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    EXPECT_GE(master_, 0);
    EXPECT_EQ(grantpt(master_), 0);
    EXPECT_EQ(unlockpt(master_), 0);
    fs::create_symlink(ptsname(master_), path);
  }
  ~Device() {
    close(master_);
    fs::remove(path_);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  void say(std::string_view text) const {
    ASSERT_EQ(write(master_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  std::string heard() const {
    std::string text(256, '\0');
    const ssize_t n = read(master_, text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }

 private:
  fs::path path_;
  int master_ = -1;
};

class SerialLineTest : public testing::Test {
 protected:
  SerialLineTest() {
    std::string pattern = fs::temp_directory_path() / "timeball-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    path_ = directory_ / "ttyGPS";
  }
  ~SerialLineTest() override { fs::remove_all(directory_); }

  void start() {
    line_ = std::make_unique<SerialLine>(context_, SerialOptions{path_, 9600},
                                         SerialLine::Calls{[this] { ++opened_; },
                                                           [this](Bytes octets, HostTime arrival) {
                                                             received_.append(octets.begin(),
                                                                              octets.end());
                                                             arrival_ = arrival;
                                                           }});
    line_->start();
  }
  // Whether it came true within five seconds.
  template <class Condition>
  bool becomes(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + 5s;
    while (!condition() && std::chrono::steady_clock::now() < end) context_.run_for(10ms);
    return condition();
  }

  fs::path directory_;
  fs::path path_;
  boost::asio::io_context context_;
  std::unique_ptr<SerialLine> line_;
  int opened_ = 0;
  std::string received_;
  HostTime arrival_;
};

TEST_F(SerialLineTest, CarriesOctetsAsTheyAre) {
  const Device device(path_);
  start();
  ASSERT_TRUE(becomes([&] { return opened_ == 1; }));
  const std::string all_sorts("$GP\r\n\xb5\x62\x00\x11\x13\x03", 11);
  device.say(all_sorts);
  EXPECT_TRUE(becomes([&] { return received_ == all_sorts; }));
  EXPECT_GT(arrival_.ns, 0);
  const std::uint8_t octets[] = {0xb5, 0x0a, 0x0d, 0x11};
  EXPECT_TRUE(line_->send(octets));
  EXPECT_EQ(device.heard(), std::string("\xb5\x0a\x0d\x11"));
  EXPECT_EQ(line_->counts().octets_received, all_sorts.size());
  EXPECT_EQ(line_->counts().octets_sent, 4U);
}

TEST_F(SerialLineTest, OpensAgainAfterUnplugging) {
  auto device = std::make_unique<Device>(path_);
  start();
  ASSERT_TRUE(becomes([&] { return opened_ == 1; }));
  device.reset();
  ASSERT_TRUE(becomes([&] { return line_->counts().lost == 1; }));
  EXPECT_FALSE(line_->send(std::array<std::uint8_t, 1>{1}));
  EXPECT_EQ(line_->counts().octets_unsent, 1U);
  ASSERT_TRUE(becomes([&] { return line_->counts().open_failures >= 1; }));
  device = std::make_unique<Device>(path_);
  ASSERT_TRUE(becomes([&] { return opened_ == 2; }));
  device->say("again");
  EXPECT_TRUE(becomes([&] { return received_ == "again"; }));
}

TEST_F(SerialLineTest, WaitsForADeviceThatIsNotThereYet) {
  start();
  ASSERT_TRUE(becomes([&] { return line_->counts().open_failures >= 1; }));
  const Device device(path_);
  EXPECT_TRUE(becomes([&] { return opened_ == 1; }));
}

TEST_F(SerialLineTest, LeavesALineAloneThatAnotherProcessHasOpen) {
  const Device device(path_);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t other = fork();
  if (other == 0) {
    const int fd = open(path_.c_str(), O_RDWR | O_NOCTTY);
    (void)!write(ready[1], &fd, 1);
    pause();
    _exit(0);
  }
  char octet = 0;
  ASSERT_EQ(read(ready[0], &octet, 1), 1);
  EXPECT_NE(other_holder(path_).find("(pid " + std::to_string(other) + ")"), std::string::npos);
  start();
  EXPECT_TRUE(becomes([&] { return line_->counts().open_failures >= 1; }));
  EXPECT_EQ(opened_, 0);
  kill(other, SIGKILL);
  waitpid(other, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
  EXPECT_TRUE(becomes([&] { return opened_ == 1; }));
  EXPECT_EQ(other_holder(path_), "");
}

TEST_F(SerialLineTest, RefusesWhatIsNotASerialLine) {
  close(creat(path_.c_str(), 0600));
  start();
  EXPECT_TRUE(becomes([&] { return line_->counts().open_failures >= 1; }));
  EXPECT_EQ(opened_, 0);
}

}  // namespace
}  // namespace timeball::refclock
