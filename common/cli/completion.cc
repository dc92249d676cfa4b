#include "common/cli/completion.h"

#include <CLI/CLI.hpp>
#include <algorithm>

namespace timeball::cli {
namespace {

constexpr const char* kAnyFile = "-f";  // of compgen
constexpr const char* kDirectory = "-d";

// What compgen is asked for behind an option; empty: nothing is known of its value.
std::string values_of(const CLI::Option& option) {
  const std::vector<std::string> choices = choices_of(option);
  if (!choices.empty()) return "-W '" + CLI::detail::join(choices, " ") + '\'';
  const std::string type = option.get_type_name();
  if (type.starts_with("FILE")) return kAnyFile;
  if (type.starts_with("DIR")) return kDirectory;
  return {};
}

std::vector<std::string> names_of(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  return names;
}

struct Tables {
  std::string paths;   // "keys|keys show|": what may stand before the word that is completed
  std::string words;   // case: path -> options and commands
  std::string values;  // case: path and option -> what compgen is asked for
};

void describe(const CLI::App& app, const std::string& path, Tables& tables) {
  std::vector<std::string> words;
  std::string operand;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;  // hidden
    const std::string values = values_of(*option);
    if (option->get_positional()) {
      operand = values;
      continue;
    }
    const std::vector<std::string> names = names_of(*option);
    words.insert(words.end(), names.begin(), names.end());
    if (option->get_expected_max() == 0) continue;  // a flag
    for (const std::string& name : names) {
      tables.values += "    '" + path + ' ' + name + "') compgen_arguments=(" + values + ");;\n";
    }
  }
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    const std::string below = path + (path.empty() ? "" : " ") + command->get_name();
    words.push_back(command->get_name());
    tables.paths += (tables.paths.empty() ? "'" : "|'") + below + '\'';
    describe(*command, below, tables);
  }
  tables.words += "      '" + path + "') words='" + CLI::detail::join(words, " ") + "' operand=(" +
                  operand + ");;\n";
}

}  // namespace

std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();  // "UINT:{15,16,17}"
  const std::size_t begin = type.find(":{");
  if (begin == std::string::npos || !type.ends_with('}')) return {};
  return CLI::detail::split(type.substr(begin + 2, type.size() - begin - 3), ',');
}

std::string bash_completion(const CLI::App& app, const std::string& command) {
  Tables tables;
  describe(app, "", tables);
  std::string function = '_' + command;
  std::ranges::replace(function, '-', '_');
  std::string script =
      "# bash completion of " + command + ", made from its options\n" + function +
      "() {\n"
      "  local path='' word words='' operand=() compgen_arguments\n"
      "  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
      "  COMPREPLY=()\n";
  if (!tables.paths.empty()) {
    script +=
        "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
        "    case \"${path:+$path }$word\" in\n"
        "      " +
        tables.paths +
        ") path=\"${path:+$path }$word\";;\n"
        "    esac\n"
        "  done\n";
  }
  return script + "  case \"$path $before\" in\n" + tables.values +
         "    *)\n"
         "      case \"$path\" in\n" +
         tables.words +
         "      esac\n"
         "      if [[ $current == -* || ${#operand[@]} -eq 0 ]]; then\n"
         "        compgen_arguments=(-W \"$words\")\n"
         "      else\n"
         "        compgen_arguments=(\"${operand[@]}\")\n"
         "      fi;;\n"
         "  esac\n"
         "  ((${#compgen_arguments[@]})) || return 0\n"
         "  mapfile -t COMPREPLY < <(compgen \"${compgen_arguments[@]}\" -- \"$current\")\n"
         "}\n"
         "complete -o filenames -F " +
         function + ' ' + command + '\n';
}

}  // namespace timeball::cli
