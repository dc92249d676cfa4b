#include "server/settings_toml.h"

#include <toml++/toml.h>
#include <algorithm>
#include <array>

namespace timeball::server {
namespace {

// Root, section (or list of them), setting, list element: nothing useful lies deeper.
constexpr unsigned kMaxDepth = 5;

TomlValue convert(const toml::node& node, unsigned depth);

TomlTable convert_table(const toml::table& table, unsigned depth) {
  TomlTable members;
  for (const auto& [key, node] : table) {
    members.push_back({std::string(key.str()), key.source().begin.line, convert(node, depth)});
  }
  std::stable_sort(members.begin(), members.end(),
                   [](const auto& a, const auto& b) { return a.line < b.line; });
  return members;
}

TomlArray convert_array(const toml::array& array, unsigned depth) {
  TomlArray elements;
  for (const toml::node& node : array) elements.push_back(convert(node, depth));
  return elements;
}

TomlValue convert(const toml::node& node, unsigned depth) {
  const unsigned line = node.source().begin.line;
  if (depth >= kMaxDepth) return {line, TomlOther{"something nested too deeply"}};
  if (const auto* table = node.as_table()) return {line, convert_table(*table, depth + 1)};
  if (const auto* array = node.as_array()) return {line, convert_array(*array, depth + 1)};
  if (const auto* text = node.as_string()) return {line, text->get()};
  if (const auto* number = node.as_integer()) return {line, number->get()};
  if (const auto* truth = node.as_boolean()) return {line, truth->get()};
  if (node.is_floating_point()) return {line, TomlOther{"a number with a fraction"}};
  return {line, TomlOther{"a date or time"}};
}

// toml++'s words for a syntax error, and what to do.
std::string explain(std::string_view description) {
  const bool twice = description.find("redefine") != std::string_view::npos;
  return "this is not TOML: " + std::string(description) +
         (twice ? "; each key and each section stands once: remove or merge the second"
                : "; write key = value, with text in quotes and lists in square brackets");
}

}  // namespace

tl::expected<TomlTable, Problem> parse_toml(std::string_view text) {
  try {
    return convert_table(toml::parse(text), 1);
  } catch (const toml::parse_error& error) {
    return tl::unexpected(Problem{error.source().begin.line, explain(error.description())});
  }
}

std::string describe(const TomlValue& value) {
  struct Describer {
    std::string operator()(bool truth) const { return truth ? "true" : "false"; }
    std::string operator()(std::int64_t n) const { return "the number " + std::to_string(n); }
    std::string operator()(const std::string& text) const {
      return text.size() > 100 ? "a long text" : "the text " + quote_toml(text);
    }
    std::string operator()(const TomlArray&) const { return "a list"; }
    std::string operator()(const TomlTable&) const { return "a section"; }
    std::string operator()(const TomlOther& other) const { return std::string(other.kind); }
  };
  return std::visit(Describer{}, value.data);
}

std::string quote_toml(std::string_view text) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out = "\"";
  for (const char c : text) {
    const auto octet = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (octet < 0x20 || octet == 0x7f) {
      out += "\\u00";
      out += kHex[octet >> 4];
      out += kHex[octet & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace timeball::server
