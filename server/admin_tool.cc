#include "server/admin_tool.h"

#include <spdlog/fmt/fmt.h>

#include <boost/json.hpp>

#include "common/time/duration_text.h"

namespace timeball::server {
namespace {

namespace json = boost::json;

std::string text_of(const json::value& value) {
  return value.is_string() ? std::string(value.get_string()) : json::serialize(value);
}

// To the second.
std::string duration_of(const json::value& seconds) {
  return print_duration(std::chrono::seconds(seconds.to_number<std::int64_t>()));
}

std::string cluster_text(const json::object& cluster) {
  const auto is = [&](const char* what) { return cluster.at(what).as_bool(); };
  const char* state = !is("in_contact") ? "cut off from etcd"
                      : is("refused")   ? "refuses what lies in etcd"
                      : is("rotates")   ? "in contact, rotates the keys"
                                        : "in contact";
  return fmt::format("cluster        {}, sequence {}: {}\n", text_of(cluster.at("name")),
                     text_of(cluster.at("sequence")), state);
}

std::string keys_text(const json::object& answer) {
  std::string text = "provider       " + text_of(answer.at("provider"));
  const std::string file = text_of(answer.at("file"));
  text += file.empty() ? " (in memory only)\n" : " " + file + '\n';
  const json::value* cluster = answer.if_contains("cluster");
  if (cluster != nullptr && cluster->is_object()) text += cluster_text(cluster->get_object());
  text += "rotated        " + duration_of(answer.at("age_s")) + " ago\n";
  text += "next rotation  in " + duration_of(answer.at("next_rotation_s")) + '\n';
  for (const json::value& generation : answer.at("generations").as_array()) {
    text +=
        fmt::format("{:<14} {}\n", text_of(generation.at("role")), text_of(generation.at("id")));
  }
  return text;
}

}  // namespace

std::string answer_text(const std::string& command, const json::object& answer) {
  if (command == "keys show") return keys_text(answer);
  const auto* done = answer.if_contains("done");
  return (done != nullptr ? text_of(*done) : "done") + '\n';
}

}  // namespace timeball::server
