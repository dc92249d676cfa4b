#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

#include "bench/report_writers.h"
#include "common/time/duration_text.h"

namespace timeball::bench {
namespace {

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --paper: #fbfaf7; --ink: #22252b; --faint: #6b7280;
  --grid: #dcdad3; --first: #1f6fb2; --second: #c2571a; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181d; --ink: #e6e4de; --faint: #9aa1ad;
  --grid: #32363f; --first: #63b3ed; --second: #f0a05a; --bad: #ff8a80; } }
body { background: var(--paper); color: var(--ink); max-width: 760px; margin: 2em auto;
  padding: 0 1em; font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4em; margin-bottom: 0; } h2 { font-size: 1em; margin: 1.6em 0 0.3em; }
p.summary { color: var(--faint); margin-top: 0.2em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 0.15em 0.8em 0.15em 0; }
th:first-child, td:first-child, td.text { text-align: left; } th { color: var(--faint); }
p.limit { color: var(--bad); font-weight: 600; } td.failure { color: var(--bad); }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--faint); font-size: 12px; }
.grid { stroke: var(--grid); stroke-width: 1; }
.series { fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.first { stroke: var(--first); } .second { stroke: var(--second); }
svg text.first { fill: var(--first); stroke: none; }
svg text.second { fill: var(--second); stroke: none; }
)";

std::string escape(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

// ---- Plots, in the SVG's own units.

constexpr double kWidth = 720;
constexpr double kHeight = 220;
constexpr double kLeft = 74;
constexpr double kRight = 12;
constexpr double kTop = 24;
constexpr double kBottom = 24;

using Label = std::string (*)(double);

struct Series {
  std::string_view name;
  std::vector<double> values;
};

struct Plot {
  std::string title;
  std::string x_unit;
  std::vector<double> x;
  std::vector<Series> series;  // two at most
  Label label;                 // of a value
  bool logarithmic = false;    // values that are not positive are then gaps
};

std::string number_label(double value) {
  if (value >= 1e6) return fmt::format("{:g}M", value / 1e6);
  if (value >= 1e4) return fmt::format("{:g}k", value / 1e3);
  return fmt::format("{:g}", value);
}

std::string percent_label(double value) {
  return fmt::format("{:g} %", value);
}

std::string time_label(double ns) {
  return print_duration(Duration(std::llround(ns)));
}

// The values of an axis, from its low end to its high end.
std::vector<double> linear_ticks(double most) {
  if (!(most > 0)) return {0, 1};
  const double rough = most / 4;
  const double decade = std::pow(10.0, std::floor(std::log10(rough)));
  const double step = rough <= 2 * decade   ? 2 * decade
                      : rough <= 5 * decade ? 5 * decade
                                            : 10 * decade;
  std::vector<double> ticks = {0};
  while (ticks.back() < most) ticks.push_back(step * static_cast<double>(ticks.size()));
  return ticks;
}

std::vector<double> decade_ticks(double least, double most) {
  std::vector<double> ticks = {std::pow(10.0, std::floor(std::log10(least)))};
  while (ticks.back() < most || ticks.size() < 2) ticks.push_back(ticks.back() * 10);
  return ticks;
}

std::vector<double> y_ticks(const Plot& plot) {
  double least = INFINITY;
  double most = 0;
  for (const Series& s : plot.series) {
    for (const double value : s.values) {
      if (value > 0) least = std::min(least, value);
      most = std::max(most, value);
    }
  }
  if (!plot.logarithmic) return linear_ticks(most);
  return most > 0 ? decade_ticks(least, most) : decade_ticks(1e6, 1e7);
}

// Where values lie on the paper.
class Scale {
 public:
  Scale(double low, double high, double at_low, double at_high, bool logarithmic)
      : logarithmic_(logarithmic),
        low_(bent(low)),
        factor_((at_high - at_low) / (bent(high) - low_)),
        at_low_(at_low) {}
  double at(double value) const { return at_low_ + (bent(value) - low_) * factor_; }

 private:
  double bent(double value) const { return logarithmic_ ? std::log10(value) : value; }

  bool logarithmic_;
  double low_;
  double factor_;
  double at_low_;
};

// Points next to each other joined; a gap where there is no value.
std::string path_of(const Plot& plot, const Series& series, const Scale& x, const Scale& y) {
  std::string path;
  bool pen_down = false;
  for (std::size_t i = 0; i < series.values.size(); ++i) {
    const double value = series.values[i];
    if (plot.logarithmic && !(value > 0)) {
      pen_down = false;
      continue;
    }
    path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", x.at(plot.x[i]), y.at(value));
    if (!pen_down) path += "h0";  // a point without neighbours is a dot
    pen_down = true;
  }
  return path;
}

std::string svg_of(const Plot& plot) {
  constexpr std::array<const char*, 2> kClasses = {"first", "second"};
  const std::vector<double> ticks = y_ticks(plot);
  const std::vector<double> x_ticks = linear_ticks(plot.x.back());
  const Scale x(0, plot.x.back(), kLeft, kWidth - kRight, false);
  const Scale y(ticks.front(), ticks.back(), kHeight - kBottom, kTop, plot.logarithmic);
  std::string svg =
      fmt::format("<h2>{0}</h2>\n<svg viewBox=\"0 0 {1} {2}\" role=\"img\" aria-label=\"{0}\">\n",
                  escape(plot.title), kWidth, kHeight);
  for (const double tick : ticks)
    svg += fmt::format(
        "<path class=\"grid\" d=\"M{0} {2:.1f}H{1}\"/><text x=\"{3}\" y=\"{4:.1f}\" "
        "text-anchor=\"end\">{5}</text>\n",
        kLeft, kWidth - kRight, y.at(tick), kLeft - 8, y.at(tick) + 4, plot.label(tick));
  for (const double tick : x_ticks) {
    if (tick > plot.x.back()) break;
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}{}</text>\n",
                       x.at(tick), kHeight - 6, number_label(tick), tick == 0 ? "" : plot.x_unit);
  }
  for (std::size_t i = plot.series.size(); i-- > 0;) {  // the first on top
    svg += fmt::format("<path class=\"series {}\" d=\"{}\"/>\n", kClasses[i],
                       path_of(plot, plot.series[i], x, y));
    svg += fmt::format("<text class=\"{}\" x=\"{}\" y=\"14\">{}</text>\n", kClasses[i],
                       kLeft + 110 * static_cast<double>(i), escape(plot.series[i].name));
  }
  return svg + "</svg>\n";
}

// The plots of a course: TimelinePoints over seconds, or RampSteps over rates.
template <class Point>
std::string course_svgs(const std::vector<Point>& points, double Point::*along,
                        const std::string& over, const std::string& x_unit) {
  if (points.empty()) return {};
  std::vector<double> x, sent, done, loss, p50, p99;
  for (const Point& p : points) {
    x.push_back(p.*along);
    sent.push_back(p.sent_per_second);
    done.push_back(p.done_per_second);
    loss.push_back(100 * p.loss);
    p50.push_back(static_cast<double>(p.p50.count()));
    p99.push_back(static_cast<double>(p.p99.count()));
  }
  return svg_of({"Rate over " + over + ", per second",
                 x_unit,
                 x,
                 {{"done", done}, {"begun", sent}},
                 number_label}) +
         svg_of(
             {"Latency over " + over, x_unit, x, {{"p50", p50}, {"p99", p99}}, time_label, true}) +
         svg_of({"Loss over " + over, x_unit, x, {{"loss", loss}}, percent_label});
}

// ---- Tables.

std::string histogram_table(const LoadReport& report) {
  std::string rows = "<tr><th></th><th>min</th>";
  for (const auto& quantile : kShownQuantiles) rows += fmt::format("<th>{}</th>", quantile.name);
  rows += "<th>max</th></tr>\n";
  for (const NamedHistogram& h : report.histograms) {
    if (h.values.count() == 0) continue;
    rows += fmt::format("<tr><td title=\"{}\">{}</td><td>{}</td>", escape(h.meaning),
                        escape(h.name), duration_text(h.values.min()));
    for (const auto& quantile : kShownQuantiles)
      rows += fmt::format("<td>{}</td>", duration_text(h.values.quantile(quantile.share)));
    rows += fmt::format("<td>{}</td></tr>\n", duration_text(h.values.max()));
  }
  return "<table>\n" + rows + "</table>\n";
}

std::string counts_table(const LoadReport& report) {
  std::string rows;
  for (const NamedCount& c : report.counts) {
    if (c.count == 0) continue;
    rows += fmt::format("<tr><td class=\"{}\">{}</td><td>{}</td><td class=\"text\">{}</td></tr>\n",
                        c.failure ? "failure" : "", escape(c.name), c.count, escape(c.meaning));
  }
  return rows.empty() ? "" : "<h2>Counts</h2>\n<table>\n" + rows + "</table>\n";
}

std::string facts(const LoadReport& report) {
  std::string text =
      fmt::format("<p>{:.1f} a second: {} of {} done in {:.1f} s, loss {:.3f} %.", report.rate(),
                  report.done, report.started, report.seconds, 100 * report.loss());
  if (report.loss_free_rate)
    text += fmt::format(" The highest rate without loss: {:.0f} a second.", *report.loss_free_rate);
  text += "<br>CPU time:";
  if (report.server_cpu_us)
    text += fmt::format(" server {:.1f} us each ({:.0f} % of one CPU),", *report.server_cpu_us,
                        100 * report.server_cpu_share.value_or(0));
  return text + fmt::format(" load generator {:.1f} us each ({:.0f} % of one CPU).</p>\n",
                            report.client_cpu_us, 100 * report.client_cpu_share);
}

std::string remarks(const LoadReport& report) {
  std::string text;
  for (const std::string& limit : report.limits_passed)
    text += "<p class=\"limit\">Limit passed: " + escape(limit) + ".</p>\n";
  for (const std::string& note : report.notes) text += "<p>Note: " + escape(note) + ".</p>\n";
  return text;
}

}  // namespace

std::string report_html(const LoadReport& report) {
  const std::string title =
      fmt::format("ntsload {} {}", escape(report.mode), escape(report.target));
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width\">\n<link rel=\"icon\" "
         "href=\"data:,\">\n<title>" +
         title + "</title>\n<style>" + std::string(kStyle) + "</style>\n</head>\n<body>\n<h1>" +
         title + "</h1>\n<p class=\"summary\">" + escape(report.summary) + "</p>\n" +
         facts(report) + remarks(report) + histogram_table(report) +
         course_svgs(report.ramp, &RampStep::rate, "the rate asked for", "/s") +
         course_svgs(report.timeline, &TimelinePoint::seconds, "time", " s") +
         counts_table(report) + "</body>\n</html>\n";
}

}  // namespace timeball::bench
