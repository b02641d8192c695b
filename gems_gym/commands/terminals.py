"""Printing on terminals that do not know every character, such as those of ``LANG=C``."""

import codecs
import sys
import unicodedata

_LOOK_ALIKES = {
    "±": "+-", "−": "-", "–": "-", "—": "-", "≥": ">=", "≤": "<=", "≠": "!=", "×": "x", "·": "*", "•": "*",
    "…": "...", "→": "->", "←": "<-", "√": "sqrt", "’": "'", "‘": "'", "“": '"', "”": '"', "█": "#",
    "α": "alpha", "β": "beta", "γ": "gamma", "ε": "eps", "λ": "lambda", "σ": "sigma", "τ": "tau", "ω": "omega",
}  # fmt: skip
_BOX = "BOX DRAWINGS "


def print_anywhere() -> None:
    """Makes stdout and stderr print what they have no character for as something like it, instead of failing."""
    codecs.register_error("look_alike", _replace)
    for stream in (sys.stdout, sys.stderr):
        # a notebook's streams have none, and take everything
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="look_alike")


def look_alike(character: str) -> str:
    r"""ASCII text that looks like a character; its escape sequence if nothing does.

    Examples:
        >>> [look_alike(one) for one in "±│┼━ŝ"]
        ['+-', '|', '+', '-', 's']
        >>> look_alike("中")
        '\\u4e2d'
    """
    if character in _LOOK_ALIKES:
        return _LOOK_ALIKES[character]
    name = unicodedata.name(character, "")
    if name.startswith(_BOX):
        return "+" if " AND " in name else "|" if name.endswith("VERTICAL") else "-"
    letter = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return letter or character.encode("ascii", "backslashreplace").decode()


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(look_alike, error.object[error.start : error.end])), error.end
