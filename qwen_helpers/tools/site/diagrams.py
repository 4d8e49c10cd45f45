"""Mermaid diagrams as SVG files, since a browser would need a program of 3 MB to draw them."""

import re
import unicodedata

import mermaidx
from mermaidx.font_metrics import Font

# Labels as SVG text, which is measured below, on lines as they were written.
CONFIG = {"htmlLabels": False, "flowchart": {"htmlLabels": False, "wrappingWidth": 1000}}
measure = Font.measure


def measure_chinese(font: Font, text: str, size: float) -> dict:
    """mermaidx's own font has no Chinese letters and takes each for 0.6 of its width, which would cut them off."""
    found = measure(font, text, size)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return {**found, "width": found["width"] + 0.4 * size * wide}


Font.measure = measure_chinese


def draw(diagram: str) -> str:
    """The SVG, in the size that the diagram needs and not in that of the page."""
    svg = mermaidx.render(diagram, config=CONFIG).svg()
    width, height = re.search(r'viewBox="\S+ \S+ (\S+) (\S+)"', svg).groups()
    return svg.replace('width="100%"', f'width="{width}" height="{height}"', 1)
