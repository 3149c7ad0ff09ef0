"""Colours and marks of the plots: told apart by colour-blind readers, on white paper, and on a dark screen.

A run has a colour and a mark of its own in every plot. In the page, plots are drawn in stand-in colours, which become
CSS variables, so that one drawing follows the reader's light or dark setting; files have the light colours.
"""

import re
from collections.abc import Mapping

# Okabe and Ito's palette without yellow, which disappears on white; on dark ground, the same hues lightened.
LIGHT = {
    "ink": "#1b1b1b",
    "faint": "#6b6b6b",
    "grid": "#dcdcdc",
    "ground": "#ffffff",
    "c0": "#0072b2",
    "c1": "#d55e00",
    "c2": "#009e73",
    "c3": "#a8497f",
    "c4": "#e69f00",
    "c5": "#56b4e9",
    "c6": "#7a7a7a",
    "c7": "#4b3f8f",
}
DARK = {
    "ink": "#ececec",
    "faint": "#a3a3a3",
    "grid": "#3b3e45",
    "ground": "#16181d",
    "c0": "#4aa8e0",
    "c1": "#f2853f",
    "c2": "#2fc49c",
    "c3": "#e097c2",
    "c4": "#f5bd45",
    "c5": "#a9dcfb",
    "c6": "#b0b0b0",
    "c7": "#a79bf0",
}
# Stand-ins: no two alike, none that a plot would use by itself.
STAND_INS = {name: f"#0101{index + 16:02x}" for index, name in enumerate(LIGHT)}
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
COLOURS = 8


def colour(theme: Mapping[str, str], index: int) -> str:
    """Return the colour of the run, or part, with this number."""
    return theme[f"c{index % COLOURS}"]


def mark(index: int) -> str:
    """Return the mark of a run: with the colour, different for 40 runs."""
    return MARKS[index % len(MARKS)]


def with_variables(svg: str) -> str:
    """Return a drawing in stand-in colours as part of a page: CSS variables for colours, no ids but its own."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'(<g) id="[\w.]+_\d+"', r"\1", body)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    for name, value in STAND_INS.items():
        body = body.replace(value, f"var(--{name})")
    return body


def variables(theme: Mapping[str, str]) -> str:
    """Return the theme as CSS declarations."""
    return " ".join(f"--{name}: {value};" for name, value in theme.items())
