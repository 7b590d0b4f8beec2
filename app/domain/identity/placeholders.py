"""What stands in a person's field and is nobody's: words for nothing, unfilled templates, foreign digests."""

import re
from typing import Final

# Spelled as programs and exports print them. Case matters: Null, Nil and Nan are names that people bear.
NOTHING_WORDS: Final = frozenset(
    {
        "null",
        "NULL",
        "(null)",
        "<null>",
        "[null]",
        "nil",
        "None",
        "undefined",
        "UNDEFINED",
        "NaN",
        "N/A",
        "n/a",
        "#N/A",
        "\\N",
        "(none)",
        "(not set)",
        "[object Object]",
    }
)

# {{email}}, {% email %}, ${email}, %%email%%, <%= email %>, [[email]], *|EMAIL|*: no one filled it in.
_TEMPLATE: Final = re.compile(r"\{\{|\}\}|\{%|%\}|\$\{|%%|<%|%>|\[\[|\]\]|\*\||\|\*")

# The lengths of hex digests other than SHA-256: MD5, SHA-1, SHA-224, SHA-384, SHA-512.
_OTHER_DIGEST: Final = re.compile(r"[0-9A-Fa-f]+")
_OTHER_DIGEST_LENGTHS: Final = frozenset({32, 40, 56, 96, 128})


def is_placeholder(text: str) -> bool:
    """Tell whether a trimmed trait only says that there is none."""
    return text in NOTHING_WORDS or _TEMPLATE.search(text) is not None


def is_other_digest(text: str) -> bool:
    """Tell whether a trimmed trait is a digest that is not SHA-256: hashing it again would match nobody."""
    return len(text) in _OTHER_DIGEST_LENGTHS and _OTHER_DIGEST.fullmatch(text) is not None
