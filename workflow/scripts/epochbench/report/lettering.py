"""How wide a text is drawn, and how it is broken or cut to fit, so that no two names become alike."""

import functools
from collections.abc import Sequence

from matplotlib.font_manager import FontProperties, findfont, get_font

FONT = "DejaVu Sans"
POINTS_PER_INCH = 72
# The width of a letter that the font lacks, in multiples of its size: matplotlib draws the box of another font.
LACKED = 1.3


@functools.cache
def _advance(letter: str, bold: bool) -> float:
    """Return how far a letter moves the pen, in multiples of its size."""
    font = get_font(findfont(FontProperties(family=FONT, weight="bold" if bold else "normal")))
    font.set_size(POINTS_PER_INCH, POINTS_PER_INCH)
    glyph = font.get_char_index(ord(letter))
    return font.load_glyph(glyph).linearHoriAdvance / 65536 / POINTS_PER_INCH if glyph else LACKED


def inches_of(text: str, points: float, *, bold: bool = False) -> float:
    """Return how wide a line of text is drawn."""
    return sum(_advance(letter, bold) for letter in text) * points / POINTS_PER_INCH


def in_lines(text: str, inches: float, points: float, most: int | None = None, *, bold: bool = False) -> list[str]:
    """Break a text into lines of so many inches at most; a text of more lines than `most` ends in an ellipsis."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if inches_of(longer, points, bold=bold) <= inches:
            lines[-1] = longer
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and inches_of(lines[-1] + letter, points, bold=bold) > inches:
                lines.append("")
            lines[-1] += letter
    lines = [line for line in lines if line] or [""]
    if most is None or len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and inches_of(f"{last} …", points, bold=bold) > inches:
        last = last[:-1].rstrip()
    return [*lines[: most - 1], f"{last} …"]


def drawn_names(names: Sequence[tuple[str, str]], inches: float, points: float, most: int) -> list[str]:
    """Return names as lines that fit, and unlike wherever their words are: each in words, and what else it is called.

    Where cutting makes two alike they are called the other way, and where that is cut alike too they are numbered.
    """
    fitted = ["\n".join(in_lines(words, inches, points, most)) for words, _ in names]
    for other in (lambda place: names[place][1], lambda place: f"{place + 1}: {names[place][0]}"):
        first = dict(zip(fitted, (words for words, _ in names), strict=True))
        alike = {text for text, (words, _) in zip(fitted, names, strict=True) if first[text] != words}
        fitted = [
            "\n".join(in_lines(other(place), inches, points, most)) if text in alike else text
            for place, text in enumerate(fitted)
        ]
    return fitted
