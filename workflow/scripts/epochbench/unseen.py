"""What nobody sees in a text from outside, and the text without it."""

import re

# What cannot be seen and may turn a line's direction or break a file: Unicode's Cc, Cf, Cs, Zl and Zp. XML has
# no way to write most of the first. This is the inside of a regular expression's brackets.
UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064"
    r"\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    r"\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
LINE_BREAKS = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
NOT_SEEN = re.compile(f"[{UNSEEN}]")


def visible(text: str) -> str:
    """Return a text from outside in one line, without the characters that cannot be seen."""
    return NOT_SEEN.sub("", LINE_BREAKS.sub(" ", text))
