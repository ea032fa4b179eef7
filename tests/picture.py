"""Turns a terminal's screen, as `tmux capture-pane -e -p` prints it, into an SVG picture.

    tmux capture-pane -e -p -t CONSOLE | python3 tests/picture.py > overview.svg
"""

import re
import sys
import unicodedata
from html import escape

WIDTH, HEIGHT, FONT, PAD = 8.4, 17, 14, 12
PAPER, INK = "#1b1e24", "#d4d7dd"
PALETTE = [
    "#1b1e24", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d4d7dd",
    "#7f848e", "#ff7a85", "#b5e890", "#ffd68a", "#7cc4ff", "#dd93f0", "#6fd3df", "#ffffff",
]


def colour(codes, at):
    """The colour after a 38 or 48, and how many codes it took."""
    if codes[at + 1] == 5:
        number = codes[at + 2]
        return (PALETTE[number] if number < 16 else INK), 3
    return "#%02x%02x%02x" % tuple(codes[at + 2 : at + 5]), 5


class Style:
    """What a cell looks like."""

    def __init__(self):
        self.ink, self.paper, self.bold, self.dim, self.reverse = INK, None, False, False, False

    def apply(self, text):
        codes = [int(code or 0) for code in text.split(";")]
        at = 0
        while at < len(codes):
            code = codes[at]
            if code == 0:
                self.__init__()
            elif code == 1:
                self.bold = True
            elif code == 2:
                self.dim = True
            elif code == 7:
                self.reverse = True
            elif code in (22, 27):
                self.bold = self.dim = self.bold and code == 27
                self.reverse = self.reverse and code != 27
            elif 30 <= code <= 37:
                self.ink = PALETTE[code - 30]
            elif 90 <= code <= 97:
                self.ink = PALETTE[code - 82]
            elif 40 <= code <= 47:
                self.paper = PALETTE[code - 40]
            elif code == 39:
                self.ink = INK
            elif code == 49:
                self.paper = None
            elif code in (38, 48):
                value, took = colour(codes, at)
                if code == 38:
                    self.ink = value
                else:
                    self.paper = value
                at += took - 1
            at += 1

    def drawn(self):
        ink, paper = self.ink, self.paper
        if self.reverse:
            ink, paper = paper or PAPER, ink
        return ink, paper, self.bold, self.dim


def main(lines):
    columns = max((len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines), default=80)
    width, height = columns * WIDTH + 2 * PAD, len(lines) * HEIGHT + 2 * PAD
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{FONT}" '
        f'xml:space="preserve">',
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>',
    ]
    for row, line in enumerate(lines):
        style, column = Style(), 0
        for part in re.split(r"(\x1b\[[0-9;]*m)", line):
            if part.startswith("\x1b"):
                style.apply(part[2:-1])
                continue
            cells = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in part)
            if not cells:
                continue
            ink, paper, bold, dim = style.drawn()
            x, y = PAD + column * WIDTH, PAD + row * HEIGHT
            if paper:
                out.append(
                    f'<rect x="{x:.1f}" y="{y}" width="{cells * WIDTH:.1f}" height="{HEIGHT}" fill="{paper}"/>'
                )
            if part.strip():
                more = ' font-weight="bold"' if bold else ""
                more += ' opacity="0.6"' if dim else ""
                out.append(
                    f'<text x="{x:.1f}" y="{y + FONT - 1}" fill="{ink}" '
                    f'textLength="{cells * WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"{more}>{escape(part)}</text>'
                )
            column += cells
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main(sys.stdin.read().rstrip("\n").split("\n"))
