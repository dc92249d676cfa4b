#include "server/monitor.h"

#include <spdlog/spdlog.h>

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

template <class Make>
HttpRoute of_json(Make make) {
  return {kJson, [make] { return HttpReply{200, json::serialize(make()) + '\n'}; }, false};
}

HttpRoute file(const char* content_type, std::string_view text) {
  return {content_type, [text] { return HttpReply{200, std::string(text)}; }, false};
}

}  // namespace

Monitor::Monitor(MetricSources sources, const Config& config, MonotonicTime start)
    : sources_(std::move(sources)), config_(config), history_(start) {
  sources_.recent = [this] { return history_.recent(); };
  metrics_ = make_metrics(sources_);
}

void Monitor::tick(MonotonicTime now) {
  Snapshot snapshot = take_snapshot(sources_);
  history_.add(snapshot, now);
  snapshot.recent = history_.recent();
  readiness_.update(why_unfit(snapshot, config_.admin.ready_bound), now);
  const RaisedAlarms::Change change = alarms_.update(snapshot, now);
  for (const AlarmKind* kind : change.raised) {
    if (!kind->told) spdlog::warn("alarm: {}: {} {}", kind->name, kind->meaning, kind->action);
  }
  for (const AlarmKind* kind : change.cleared) {
    if (!kind->told) spdlog::info("alarm over: {}", kind->name);
  }
}

json::object Monitor::status() const {
  return status_json(take_snapshot(sources_), alarms_, config_);
}

json::object Monitor::alarms() const {
  return {{"alarms", alarms_json(alarms_)}};
}

json::object Monitor::clients() const {
  return clients_json(sources_.clients());
}

HttpReply Monitor::ready() const {
  const std::string& why_not = readiness_.why_not();
  if (why_not.empty()) return {200, "ready\n"};
  return {503, why_not + '\n'};
}

HttpRoutes Monitor::routes() const {
  HttpRoutes routes;
  routes["/metrics"] = {kMetricsType,
                        [this] {
                          return HttpReply{200, metrics_text(*metrics_)};
                        },
                        false};
  routes["/healthz"] = {kText, [] { return HttpReply{200, "ok\n"}; }, true};
  routes["/readyz"] = {kText, [this] { return ready(); }, true};
  routes["/api/v1/status"] = of_json([this] { return status(); });
  routes["/api/v1/history"] = of_json([this] { return history_json(history_); });
  routes["/api/v1/config"] = of_json([this] { return config_json(config_); });
  if (sources_.clients) routes["/api/v1/clients"] = of_json([this] { return clients(); });
  routes["/"] = file("text/html; charset=utf-8", kPanelPage);
  routes["/panel.js"] = file("text/javascript; charset=utf-8", kPanelScript);
  routes["/panel.css"] = file("text/css; charset=utf-8", kPanelStyle);
  return routes;
}

}  // namespace timeball::server
