#include <spdlog/fmt/fmt.h>

#include "bench/report_writers.h"
#include "common/time/duration_text.h"

namespace timeball::bench {
namespace {

std::string histogram_line(const NamedHistogram& h) {
  std::string line = fmt::format("{:<12}min {}", h.name, duration_text(h.values.min()));
  for (const auto& [name, share] : kShownQuantiles)
    line += fmt::format("  {} {}", name, duration_text(h.values.quantile(share)));
  return line + fmt::format("  max {}\n", duration_text(h.values.max()));
}

std::string counts_lines(const LoadReport& report, bool failures) {
  std::string lines;
  for (const NamedCount& c : report.counts) {
    if (c.failure != failures || c.count == 0) continue;
    lines += fmt::format("{:<12}{} {}: {}\n", lines.empty() ? failures ? "failures" : "others" : "",
                         c.count, c.name, c.meaning);
  }
  return lines;
}

std::string cpu_line(const LoadReport& report) {
  std::string line = fmt::format("{:<12}", "CPU");
  if (report.server_cpu_us)
    line += fmt::format("server {:.1f} us each, {:.0f} % of one CPU; ", *report.server_cpu_us,
                        100 * report.server_cpu_share.value_or(0));
  return line + fmt::format("load generator {:.1f} us each, {:.0f} % of one CPU\n",
                            report.client_cpu_us, 100 * report.client_cpu_share);
}

std::string ramp_lines(const LoadReport& report) {
  std::string lines;
  for (const RampStep& step : report.ramp)
    lines += fmt::format(
        "{:<12}{:.0f}/s asked, {:.0f} sent, {:.0f} done, loss {:.3f} %, p50 {}, "
        "p99 {}\n",
        lines.empty() ? "ramp" : "", step.rate, step.sent_per_second, step.done_per_second,
        100 * step.loss, duration_text(step.p50), duration_text(step.p99));
  if (report.loss_free_rate)
    lines += fmt::format("{:<12}{:.0f}/s\n", "loss-free", *report.loss_free_rate);
  return lines;
}

}  // namespace

std::vector<std::string> check_limits(const LoadReport& report, const LoadLimits& limits) {
  std::vector<std::string> passed;
  if (limits.loss && report.loss() > *limits.loss)
    passed.push_back(fmt::format("loss is {:.3f} %, more than --fail-loss {:g} %",
                                 100 * report.loss(), 100 * *limits.loss));
  if (limits.p99 && !report.histograms.empty()) {
    const Duration p99 = report.histograms.front().values.quantile(0.99);
    if (p99 > *limits.p99)
      passed.push_back(fmt::format("{} p99 is {}, more than --fail-p99 {}",
                                   report.histograms.front().name, duration_text(p99),
                                   print_duration(*limits.p99)));
  }
  return passed;
}

std::string report_text(const LoadReport& report) {
  std::string text = fmt::format("ntsload {} {}: {}\n", report.mode, report.target, report.summary);
  text +=
      fmt::format("{:<12}{:.1f}/s ({} of {} done in {:.1f} s, loss {:.3f} %)\n", "rate",
                  report.rate(), report.done, report.started, report.seconds, 100 * report.loss());
  text += ramp_lines(report);
  for (const NamedHistogram& h : report.histograms)
    if (h.values.count() > 0) text += histogram_line(h);
  text += counts_lines(report, true);
  text += counts_lines(report, false);
  text += cpu_line(report);
  for (const std::string& note : report.notes) text += fmt::format("{:<12}{}\n", "note", note);
  for (const std::string& limit : report.limits_passed)
    text += fmt::format("{:<12}{}\n", "LIMIT", limit);
  return text;
}

}  // namespace timeball::bench
