// A TOML document as plain values, each with the line it stands on: all that the settings need of
// TOML.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <variant>
#include <vector>

namespace timeball::server {

struct TomlMember;
struct TomlValue;

using TomlArray = std::vector<TomlValue>;
using TomlTable = std::vector<TomlMember>;  // in line order

// A value that no setting takes: a fraction, a date, or what is nested too deeply.
struct TomlOther {
  std::string_view kind;  // "a date", for messages
};

struct TomlValue {
  unsigned line = 0;
  std::variant<bool, std::int64_t, std::string, TomlArray, TomlTable, TomlOther> data;
};

struct TomlMember {
  std::string key;
  unsigned line = 0;
  TomlValue value;
};

// Something wrong on a line, for a person.
struct Problem {
  unsigned line = 0;
  std::string message;
};

tl::expected<TomlTable, Problem> parse_toml(std::string_view text);
// What the value is, for messages: `the text "x"`, `the number 5`, `a list`.
std::string describe(const TomlValue& value);
// As a TOML basic string, with its quotes.
std::string quote_toml(std::string_view text);

}  // namespace timeball::server
