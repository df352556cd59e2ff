"""Pictures of the running screen: SVG without web fonts, its text, and PNG made from it."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Final

from p2pchat.tui.app import ChatApp

FOLDER: Final = Path(__file__).parents[2] / "screenshots"
FONTS: Final = "DejaVu Sans Mono, Menlo, Consolas, monospace"

_FONT_FACE: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_MATRIX_TEXT: Final = re.compile(r'<text class="[^"]*-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>')


def svg_of(app: ChatApp) -> str:
    """The screen as it is now, in fonts that a reader has."""
    svg = app.export_screenshot(title="p2pchat")
    svg = _FONT_FACE.sub("", svg)
    svg = re.sub(r"font-family: [^;]*Fira Code[^;]*;", f"font-family: {FONTS};", svg)
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def text_of(svg: str) -> list[str]:
    """The rows of text in a picture, so that two pictures can be compared by what they say."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in _MATRIX_TEXT.findall(svg):
        rows.setdefault(float(y), []).append((float(x), unescape(text).replace("\xa0", " ")))
    return ["".join(text for _, text in sorted(parts)).rstrip() for _, parts in sorted(rows.items())]


def png_of(svg: str) -> bytes:
    """The picture as PNG, at twice the size."""
    from resvg_py import svg_to_bytes

    return svg_to_bytes(svg_string=svg, zoom=2.0, monospace_family="DejaVu Sans Mono", font_family="DejaVu Sans Mono")
