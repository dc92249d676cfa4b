// The panel's three files, put here by server/panel/embed.py when the daemon is built.
#pragma once

#include <string_view>

namespace timeball::server {

extern const std::string_view kPanelPage;    // server/panel/index.html
extern const std::string_view kPanelScript;  // panel.js
extern const std::string_view kPanelStyle;   // panel.css

}  // namespace timeball::server
