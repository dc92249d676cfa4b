#!/usr/bin/env python3
"""embed.py OUTPUT FILE...: the panel's files as the constants of server/panel.h, so that none is read at run time."""
import pathlib
import sys

NAMES = {".html": "kPanelPage", ".js": "kPanelScript", ".css": "kPanelStyle"}
LITERAL = 8000  # octets: compilers need not take longer ones

output, *files = map(pathlib.Path, sys.argv[1:])
parts = ['#include "server/panel.h"\n\nnamespace timeball::server {\n']
for file in files:
    text = file.read_text(encoding="utf-8")
    pieces = [text[i:i + LITERAL] for i in range(0, len(text), LITERAL)]
    assert ')panel"' not in text, file
    literal = "\n".join(f'R"panel({piece})panel"' for piece in pieces)
    parts.append(f"const std::string_view {NAMES[file.suffix]} =\n{literal};\n")
parts.append("}  // namespace timeball::server\n")
output.write_text("\n".join(parts), encoding="utf-8")
