#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <thread>

#include "bench/cpu_meter.h"
#include "bench/load_progress.h"
#include "bench/process_cpu.h"
#include "bench/report_writers.h"
#include "bench/timeline.h"

namespace timeball::bench {
namespace {

using namespace std::chrono_literals;

bool contains(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

LoadReport sample_report() {
  LoadReport report;
  report.mode = "ke";
  report.target = "127.0.0.1:4460";
  report.summary = "closed loop & <fast>";
  report.seconds = 2;
  report.started = 1000;
  report.done = 990;
  report.counts = {{"timeout", "no response in time", 10, true},
                   {"closed", "closed early", 0, true},
                   {"slow_ended", "slow ones", 3, false}};
  NamedHistogram latency{"latency", "start to response", {}};
  for (int i = 1; i <= 990; ++i) latency.values.record(i * 1us);
  report.histograms.push_back(latency);
  report.timeline = {{1, 500, 495, 0.01, 400us, 900us}, {2, 500, 495, 0.01, 500us, 950us}};
  report.server_cpu_us = 150.5;
  report.server_cpu_share = 0.75;
  report.client_cpu_us = 200;
  report.client_cpu_share = 0.99;
  report.notes = {"a note"};
  return report;
}

TEST(Limits, AreNamedWhenPassed) {
  const LoadReport report = sample_report();
  EXPECT_TRUE(check_limits(report, {}).empty());
  EXPECT_TRUE(check_limits(report, {.loss = 0.01, .p99 = 1ms}).empty());
  const auto passed = check_limits(report, {.loss = 0.009, .p99 = 900us});
  ASSERT_EQ(passed.size(), 2u);
  EXPECT_EQ(passed[0], "loss is 1.000 %, more than --fail-loss 0.9 %");
  EXPECT_TRUE(contains(passed[1], "latency p99 is 98")) << passed[1];
  EXPECT_TRUE(contains(passed[1], "more than --fail-p99 900us")) << passed[1];
}

TEST(ReportText, ShowsWhatHappenedAndNothingElse) {
  LoadReport report = sample_report();
  report.limits_passed = {"too slow"};
  const std::string text = report_text(report);
  EXPECT_TRUE(contains(text, "rate        495.0/s (990 of 1000 done in 2.0 s, loss 1.000 %)\n"));
  EXPECT_TRUE(contains(text, "latency     min 1.000 us  p50 "));
  EXPECT_TRUE(contains(text, "failures    10 timeout: no response in time\n"));
  EXPECT_TRUE(contains(text, "others      3 slow_ended: slow ones\n"));
  EXPECT_FALSE(contains(text, "closed early"));
  EXPECT_TRUE(contains(text, "server 150.5 us each, 75 % of one CPU; load generator 200.0 us"));
  EXPECT_TRUE(contains(text, "note        a note\n"));
  EXPECT_TRUE(contains(text, "LIMIT       too slow\n"));
}

TEST(ReportJson, HoldsAllOfIt) {
  LoadReport report = sample_report();
  report.ramp = {{100, 100, 99, 0.01, 1us, 2us}};
  report.loss_free_rate = 90;
  const auto json = boost::json::parse(report_json(report));
  EXPECT_EQ(json.at("mode"), "ke");
  EXPECT_EQ(json.at("started"), 1000);
  EXPECT_EQ(json.at("rate"), 495.0);
  EXPECT_NEAR(json.at("loss").as_double(), 0.01, 1e-9);
  EXPECT_EQ(json.at("counts").as_array().size(), 3u);
  EXPECT_EQ(json.at("counts").at(1).at("count"), 0);
  EXPECT_EQ(json.at("counts").at(0).at("failure"), true);
  const auto& latency = json.at("histograms").at(0);
  EXPECT_EQ(latency.at("min_ns"), 1000);
  EXPECT_EQ(latency.at("max_ns"), 990'000);
  EXPECT_NEAR(latency.at("p99.9_ns").to_number<double>(), 989'000, 989'000 / 64);
  EXPECT_EQ(json.at("timeline").at(1).at("p99_ns"), 950'000);
  EXPECT_EQ(json.at("ramp").at(0).at("rate"), 100.0);
  EXPECT_EQ(json.at("loss_free_rate"), 90.0);
  EXPECT_EQ(json.at("server_cpu_us"), 150.5);
  EXPECT_TRUE(boost::json::parse(report_json({})).at("server_cpu_us").is_null());
}

TEST(ReportHtml, IsOneEscapedPageWithItsPlots) {
  LoadReport report = sample_report();
  report.notes = {"<script>alert(1)</script> \"quoted\""};
  const std::string page = report_html(report);
  EXPECT_TRUE(contains(page, "closed loop &amp; &lt;fast&gt;"));
  EXPECT_FALSE(contains(page, "<script"));
  EXPECT_FALSE(contains(page, "http"));  // nothing from elsewhere
  std::size_t plots = 0;
  for (std::size_t at = 0; (at = page.find("<svg", at)) != std::string::npos; ++at) ++plots;
  EXPECT_EQ(plots, 3u);
  report.ramp = {{100, 100, 99, 0.01, 1us, 2us}, {200, 200, 99, 0.5, 1us, 2us}};
  EXPECT_TRUE(contains(report_html(report), "Rate over the rate asked for"));
}

// Every number in the page is one: no value, however odd, makes a plot that cannot be drawn.
TEST(ReportHtml, OddCoursesAreDrawn) {
  LoadReport report = sample_report();
  for (const std::vector<TimelinePoint>& course :
       {std::vector<TimelinePoint>{{0.05, 0, 0, 0, {}, {}}},
        std::vector<TimelinePoint>{{1, 0, 0, 1, {}, {}}, {2, 1e-9, 1e12, 0, 1ns, 10000s}},
        std::vector<TimelinePoint>{{1, 10, 10, 0, 1ms, 1ms}, {2, 0, 0, 0, {}, {}}}}) {
    report.timeline = course;
    const std::string page = report_html(report);
    EXPECT_FALSE(contains(page, "nan"));
    EXPECT_FALSE(contains(page, "inf"));
    EXPECT_LT(page.size(), 20'000u);
  }
}

TEST(ProgressLine, SaysRateLossLatencyAndWhatRemains) {
  EXPECT_EQ(progress_line({3, 100, 99, 0.01, 1ms, 2ms}, 10),
            "3 of 10 s  99/s  loss 1.00 %  p50 1.000 ms  p99 2.000 ms  7 s left");
}

class TimelineTest : public testing::Test {
 protected:
  const SteadyTime begin_{1000s};
  Timeline timeline_{{begin_, begin_ + 1s}};  // 20 intervals of 50 ms
};

TEST_F(TimelineTest, WritersIntervalsAreMerged) {
  TimelineWriter a(timeline_);
  TimelineWriter b(timeline_);
  a.started(begin_ + 10ms);
  a.done(begin_ + 20ms, 10ms);
  b.started(begin_ + 30ms);
  b.failed(begin_ + 60ms);
  a.done(begin_ + 60ms, 1ms);
  a.flush(begin_ + 1s);
  b.flush(begin_ + 1s);
  const auto points = timeline_.finish();
  ASSERT_EQ(points.size(), 20u);
  EXPECT_DOUBLE_EQ(points[0].seconds, 0.05);
  EXPECT_DOUBLE_EQ(points[0].sent_per_second, 40);
  EXPECT_DOUBLE_EQ(points[0].done_per_second, 20);
  EXPECT_EQ(points[0].p50, 10ms);
  EXPECT_DOUBLE_EQ(points[0].loss, 0);
  EXPECT_DOUBLE_EQ(points[1].loss, 0.5);
  EXPECT_DOUBLE_EQ(points[2].done_per_second, 0);
  EXPECT_DOUBLE_EQ(points[19].seconds, 1);
}

TEST_F(TimelineTest, StragglersGoToTheLastIntervalThatIsOpen) {
  TimelineWriter writer(timeline_);
  writer.done(begin_ + 10ms, 1ms);
  EXPECT_EQ(timeline_.close(begin_ - 1s), nullptr);
  EXPECT_EQ(timeline_.close(begin_ + 99ms), nullptr);
  const TimelinePoint* latest = timeline_.close(begin_ + 150ms);  // the writer is late
  ASSERT_NE(latest, nullptr);
  EXPECT_DOUBLE_EQ(latest->seconds, 0.1);
  writer.done(begin_ + 5s, 2ms);  // long after the window
  writer.flush(begin_ + 5s);
  const auto points = timeline_.finish();
  ASSERT_EQ(points.size(), 20u);
  EXPECT_DOUBLE_EQ(points[0].done_per_second, 0);
  EXPECT_DOUBLE_EQ(points[2].done_per_second, 20);
  EXPECT_DOUBLE_EQ(points[19].done_per_second, 20);
}

TEST(ProcessCpu, ReadsTheKernelsTexts) {
  const auto cpu = parse_schedstat("123456789 42 7\n");
  ASSERT_TRUE(cpu);
  EXPECT_EQ(cpu->used, Duration(123'456'789));
  EXPECT_EQ(cpu->waited, Duration(42));
  EXPECT_FALSE(parse_schedstat(""));
  EXPECT_FALSE(parse_schedstat("12"));
  EXPECT_EQ(parse_parent("42 (a) b (c) S 17 42 42 0"), 17);
  EXPECT_FALSE(parse_parent("42 (a"));
  EXPECT_FALSE(parse_parent("42 (a) S"));
}

TEST(ProcessCpu, CountsThreadsAndChildren) {
  int child_pipe[2];
  ASSERT_EQ(::pipe(child_pipe), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char octet;
    ::close(child_pipe[1]);
    ::_exit(static_cast<int>(::read(child_pipe[0], &octet, 1)));
  }
  std::thread thread([&] {
    const auto reading = read_cpu(::getpid());
    ASSERT_TRUE(reading);
    EXPECT_TRUE(reading->contains(::getpid()));
    EXPECT_TRUE(reading->contains(::gettid()));
    EXPECT_TRUE(reading->contains(child));
  });
  thread.join();
  ::close(child_pipe[1]);
  ::close(child_pipe[0]);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(read_cpu(child));
}

TEST(ProcessCpu, DifferenceIsOverAllThreadsAndNamesTheBusiest) {
  const CpuReading before = {{1, {10ms, 0ms}}, {2, {20ms, 5ms}}, {3, {99ms, 0ms}}};
  const CpuReading after = {{1, {40ms, 1ms}}, {2, {30ms, 45ms}}, {4, {5ms, 0ms}}};
  const CpuUse use = cpu_between(before, after);
  EXPECT_EQ(use.used, 45ms);
  EXPECT_EQ(use.busiest.used, 10ms);
  EXPECT_EQ(use.busiest.waited, 40ms);
}

TEST(CpuMeter, ServerThatEndsIsANote) {
  int pipe_to_child[2];
  ASSERT_EQ(::pipe(pipe_to_child), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char octet;
    ::close(pipe_to_child[1]);
    ::_exit(static_cast<int>(::read(pipe_to_child[0], &octet, 1)));
  }
  CpuMeter meter(child);
  ASSERT_TRUE(meter.begin());
  ::close(pipe_to_child[1]);
  ::close(pipe_to_child[0]);
  ::waitpid(child, nullptr, 0);
  ASSERT_TRUE(meter.end());
  LoadReport report = sample_report();
  report.server_cpu_us.reset();
  report.notes.clear();
  meter.fill(report);
  EXPECT_EQ(report.notes, std::vector<std::string>{"the server's process ended during the run"});
  EXPECT_FALSE(report.server_cpu_us);
}

TEST(CpuMeter, MissingServerIsNamed) {
  CpuMeter meter(0x7fffffff);
  const auto begun = meter.begin();
  ASSERT_FALSE(begun);
  EXPECT_TRUE(contains(begun.error().message, "2147483647"));
}

}  // namespace
}  // namespace timeball::bench
