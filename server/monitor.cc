#include "server/monitor.h"

#include <boost/json/serialize.hpp>
#include <utility>

#include "server/metrics.h"
#include "server/panel.h"
#include "server/status.h"

namespace timeball::server {
namespace {

namespace json = boost::json;

constexpr const char* kJson = "application/json";
constexpr const char* kText = "text/plain; charset=utf-8";

HttpRoute file(const char* content_type, std::string_view text) {
  return {content_type, [text] { return HttpReply{200, std::string(text)}; }};
}

}  // namespace

Monitor::Monitor(MetricSources sources, const Config& config, MonotonicTime start)
    : sources_(std::move(sources)), config_(config), history_(start) {
  sources_.recent = [this] { return history_.recent(); };
  metrics_ = make_metrics(sources_);
}

void Monitor::tick(MonotonicTime now) {
  history_.add(take_snapshot(sources_), now);
}

json::object Monitor::status() const {
  return status_json(take_snapshot(sources_), config_);
}

HttpRoutes Monitor::routes() const {
  HttpRoutes routes;
  routes["/metrics"] = {kMetricsType, [this] { return HttpReply{200, metrics_text(*metrics_)}; }};
  routes["/healthz"] = {kText, [] { return HttpReply{200, "ok\n"}; }};
  routes["/api/v1/status"] = {kJson, [this] {
                                return HttpReply{200, json::serialize(status()) + '\n'};
                              }};
  routes["/"] = file("text/html; charset=utf-8", kPanelPage);
  routes["/panel.js"] = file("text/javascript; charset=utf-8", kPanelScript);
  routes["/panel.css"] = file("text/css; charset=utf-8", kPanelStyle);
  return routes;
}

}  // namespace timeball::server
