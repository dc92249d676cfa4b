// Man pages and bash completions from CLI11's tables; what man and bash make of the real ones is
// shown by tests/e2e/test_documents.py.
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "common/cli/completion.h"
#include "common/cli/manual.h"

namespace timeball::cli {
namespace {

class CliTest : public testing::Test {
 protected:
  CliTest() {
    app_.add_option("--config", text_, "The file")->type_name("FILE")->capture_default_str();
    app_.add_flag("--hidden", flag_, "Not shown")->group("");
    CLI::App* keys = app_.add_subcommand("keys", "Keys");
    keys->require_subcommand(1);
    CLI::App* show = keys->add_subcommand("show", "Show them");
    show->footer("Exit status:\n  0  good");
    show->add_option("DIR", text_, "Where")->required()->type_name("DIR");
    show->add_option("--aead", number_, "Only this")->check(CLI::IsMember({15, 30}));
  }

  const Page page_{{"tool", 8}, "does things", "Does them.", {{"FILES", {{"/x", "A file."}}}}};
  CLI::App app_{"A tool"};
  std::string text_ = "\"default\"";
  int number_ = 0;
  bool flag_ = false;
};

TEST_F(CliTest, PageHasEveryCommandAndOptionThatIsShown) {
  const std::string text = as_text(manual_of(app_, page_));
  for (const char* line : {"    tool - does things\n", "    tool keys show DIR [OPTIONS]\n",
                           "tool keys show\n", "        Only this. One of 15, 30.\n",
                           "    --config FILE\n", "        The file. Default: \"default\".\n",
                           "    Exit status:\n    0  good\n", "    /x\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
  EXPECT_EQ(text.find("hidden"), std::string::npos);
}

TEST_F(CliTest, RoffKeepsQuotesAndDashes) {
  const std::string page = as_roff(manual_of(app_, page_), page_.name);
  EXPECT_TRUE(page.starts_with(".TH \"TOOL\" 8 ")) << page;
  EXPECT_NE(page.find(".B \\-\\-config FILE\nThe file. Default: \\(dqdefault\\(dq.\n"),
            std::string::npos)
      << page;
}

TEST(ManualTest, NoLineOfTextIsARoffRequest) {
  const Manual manual = {{"X", {{".term", ".so /etc/passwd\n\n'quote \\fB-x"}}}};
  EXPECT_NE(as_roff(manual, {"x", 1})
                .find("\n.B \\&.term\n\\&.so /etc/passwd\n.IP\n\\&'quote \\efB\\-x\n"),
            std::string::npos);
}

TEST_F(CliTest, CompletionKnowsWhatOptionsTake) {
  const std::string script = bash_completion(app_, "the-tool");
  for (const char* part :
       {"'keys'|'keys show') path=", "'keys show --aead') compgen_arguments=(-W '15 30');;",
        "' --config') compgen_arguments=(-f);;",
        "'keys show') words='--help -h --aead' operand=(-d);;",
        "complete -o filenames -F _the_tool the-tool\n"}) {
    EXPECT_NE(script.find(part), std::string::npos) << part << script;
  }
  EXPECT_EQ(script.find("hidden"), std::string::npos);
}

}  // namespace
}  // namespace timeball::cli
