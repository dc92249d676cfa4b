// The clock helper as a service, over real sockets, above a kernel of the test's own.
#include "refclock/linux/clock_service.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <thread>

#include "refclock/linux/remote_clock.h"

namespace timeball::refclock {
namespace {

class ClockServiceTest : public testing::Test {
 protected:
  ClockServiceTest() {
    address_.sun_family = AF_UNIX;
    // Of the abstract kind: it leaves nothing behind.
    const std::string name = "timeball-clock-service-test-" + std::to_string(getpid());
    name.copy(address_.sun_path + 1, name.size());
    listener_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(listener_, address(), sizeof address_), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
  }
  ~ClockServiceTest() override {
    end();
    close(listener_);
  }
  void start(uid_t user = geteuid()) {
    service_ = std::thread([this, user] {
      serve_clock_to(user, listener_, [this](timex* t) {
        ++calls_;
        t->freq = 4711;
        return TIME_OK;
      });
    });
  }
  void end() {
    shutdown(listener_, SHUT_RDWR);
    if (service_.joinable()) service_.join();
  }
  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }
  int connected() const {
    const int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(s, address(), sizeof address_) == 0) return s;
    close(s);
    return -1;
  }
  // errno of its first word; -1: none.
  static int word(int socket) {
    ClockAnswer answer;
    if (recv(socket, &answer, sizeof answer, 0) != sizeof answer) return -1;
    return answer.result < 0 ? answer.error : 0;
  }
  // errno of one call on a connection that was admitted.
  static int ask(int socket, unsigned modes) {
    ClockRequest request;
    request.modes = modes;
    if (send(socket, &request, sizeof request, MSG_NOSIGNAL) != sizeof request) return EPIPE;
    return word(socket);
  }

  sockaddr_un address_{};
  int listener_ = -1;
  std::thread service_;
  std::atomic<int> calls_{0};
};

constexpr unsigned kStep = ADJ_SETOFFSET | ADJ_NANO;

TEST_F(ClockServiceTest, SteersForOneAtATime) {
  start();
  const int first = connected();
  ASSERT_EQ(word(first), 0);
  EXPECT_EQ(ask(first, ADJ_FREQUENCY), 0);
  const int second = connected();
  EXPECT_EQ(word(second), EBUSY);
  EXPECT_EQ(word(second), -1);  // and it is closed
  EXPECT_EQ(ask(first, 0), 0);
  close(second);
  close(first);
  const int third = connected();
  EXPECT_EQ(word(third), 0);
  EXPECT_EQ(ask(third, 0), 0);
  close(third);
  EXPECT_EQ(calls_, 3);
}

TEST_F(ClockServiceTest, AnotherUserIsRefused) {
  start(geteuid() + 1);
  const int peer = connected();
  EXPECT_EQ(word(peer), EACCES);
  EXPECT_NE(ask(peer, 0), 0);
  close(peer);
  EXPECT_EQ(calls_, 0);
}

TEST_F(ClockServiceTest, ToConnectAgainBringsNoOtherStep) {
  start();
  for (const int wanted : {0, EPERM, EPERM}) {
    const int peer = connected();
    ASSERT_EQ(word(peer), 0);
    EXPECT_EQ(ask(peer, kStep), wanted);
    close(peer);
  }
}

TEST_F(ClockServiceTest, AnotherProcessHasAStepOfItsOwn) {
  start();
  for (int i = 0; i < 2; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const int peer = connected();
      _exit(word(peer) == 0 && ask(peer, kStep) == 0 && ask(peer, kStep) == EPERM ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

TEST_F(ClockServiceTest, WhoeverSaysWhatIsNoRequestIsHungUpOnAndOthersAreServed) {
  start();
  const int peer = connected();
  ASSERT_EQ(word(peer), 0);
  const char text[] = "GET / HTTP/1.0";
  ASSERT_EQ(send(peer, text, sizeof text, 0), static_cast<ssize_t>(sizeof text));
  EXPECT_EQ(word(peer), -1);
  close(peer);
  const int other = connected();
  EXPECT_EQ(word(other), 0);
  close(other);
  EXPECT_EQ(calls_, 0);
}

// remote_clock's end.

TEST_F(ClockServiceTest, AConnectionThatIsLostIsMadeAgain) {
  start();
  int connections = 0;
  const auto adjust = remote_clock(-1, [&] {
    ++connections;
    return connected();
  });
  const auto until_it_answers = [&] {
    timex t{};
    while (adjust(&t) < 0) {
      ASSERT_EQ(errno, EPIPE);
      std::this_thread::yield();
    }
    EXPECT_EQ(t.freq, 4711);
  };
  until_it_answers();
  EXPECT_EQ(connections, 1);
  end();
  timex t{};
  EXPECT_EQ(adjust(&t), -1);
  EXPECT_EQ(errno, EPIPE);
  EXPECT_EQ(adjust(&t), -1);  // nobody listens: at once
  EXPECT_EQ(connections, 2);
  close(listener_);
  listener_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(listener_, address(), sizeof address_), 0);
  ASSERT_EQ(listen(listener_, 8), 0);
  start();
  until_it_answers();
}

TEST_F(ClockServiceTest, ARefusalIsTriedAgain) {
  start();
  const int first = connected();
  ASSERT_EQ(word(first), 0);
  const auto adjust = remote_clock(connected(), [this] { return connected(); });
  timex t{};
  for (int i = 0; i < 100; ++i) ASSERT_EQ(adjust(&t), -1);
  close(first);
  while (adjust(&t) < 0) std::this_thread::yield();
  EXPECT_EQ(t.freq, 4711);
}

}  // namespace
}  // namespace timeball::refclock
