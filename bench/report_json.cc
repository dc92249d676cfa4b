#include <boost/json.hpp>

#include "bench/report_writers.h"

namespace timeball::bench {
namespace {

namespace json = boost::json;

json::value number_or_null(const std::optional<double>& number) {
  return number ? json::value(*number) : json::value(nullptr);
}

json::string_view view(std::string_view text) {
  return {text.data(), text.size()};
}

json::object histogram_json(const NamedHistogram& h) {
  json::object object{{"name", view(h.name)},
                      {"meaning", view(h.meaning)},
                      {"count", h.values.count()},
                      {"min_ns", h.values.min().count()}};
  for (const auto& [name, share] : kShownQuantiles)
    object[std::string(name) + "_ns"] = h.values.quantile(share).count();
  object["max_ns"] = h.values.max().count();
  return object;
}

json::array counts_json(const LoadReport& report) {
  json::array counts;
  for (const NamedCount& c : report.counts)
    counts.push_back({{"name", view(c.name)},
                      {"meaning", view(c.meaning)},
                      {"count", c.count},
                      {"failure", c.failure}});
  return counts;
}

// What a TimelinePoint and a RampStep have in common.
template <class T>
json::object course_json(const T& point) {
  return {{"sent_per_second", point.sent_per_second},
          {"done_per_second", point.done_per_second},
          {"loss", point.loss},
          {"p50_ns", point.p50.count()},
          {"p99_ns", point.p99.count()}};
}

}  // namespace

std::string report_json(const LoadReport& report) {
  json::array histograms;
  for (const NamedHistogram& h : report.histograms) histograms.push_back(histogram_json(h));
  json::array timeline;
  for (const TimelinePoint& p : report.timeline)
    timeline.emplace_back(course_json(p)).as_object()["seconds"] = p.seconds;
  json::array ramp;
  for (const RampStep& s : report.ramp)
    ramp.emplace_back(course_json(s)).as_object()["rate"] = s.rate;
  const json::object object{{"mode", report.mode},
                            {"target", report.target},
                            {"summary", report.summary},
                            {"seconds", report.seconds},
                            {"started", report.started},
                            {"done", report.done},
                            {"rate", report.rate()},
                            {"loss", report.loss()},
                            {"loss_free_rate", number_or_null(report.loss_free_rate)},
                            {"counts", counts_json(report)},
                            {"histograms", std::move(histograms)},
                            {"server_cpu_us", number_or_null(report.server_cpu_us)},
                            {"server_cpu_share", number_or_null(report.server_cpu_share)},
                            {"client_cpu_us", report.client_cpu_us},
                            {"client_cpu_share", report.client_cpu_share},
                            {"ramp", std::move(ramp)},
                            {"timeline", std::move(timeline)},
                            {"notes", json::value_from(report.notes)},
                            {"limits_passed", json::value_from(report.limits_passed)}};
  return json::serialize(object) + "\n";
}

}  // namespace timeball::bench
