"""Errors for the user, each one sentence with an exit code, and functions that build such sentences."""

import difflib
import unicodedata
from collections.abc import Iterable

_DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class UserError(Exception):
    """A mistake that the user can correct. The message is one sentence: what, where, what to do. Exit code 2.

    Names in it may come from files of strangers, so the message becomes one line without control characters.
    """

    exit_code = 2

    def __init__(self, message: object):
        super().__init__(printable(" ".join(str(message).splitlines())))


class NonFiniteError(UserError):
    """A loss, a gradient or a parameter is not finite any more. Exit code 3."""

    exit_code = 3


class LostError(UserError):
    """Another process of the run is gone or did not come. Exit code 4."""

    exit_code = 4


class NeedsWholeBatch(UserError, ValueError):
    """A step over devices would not compute what it computes on the whole batch. The message says what and why."""


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or else its class, to stand inside a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def is_plain(text: str) -> bool:
    """Whether text is one line without control characters and changes of direction, which a terminal obeys."""
    return text.isprintable() or not any(map(_is_control, text))


def _is_control(character: str) -> bool:
    # Control characters, bytes that Python could not decode, and line and paragraph breaks.
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTIONS


def printable(text: str) -> str:
    """Returns text with escapes in place of what a terminal would obey."""
    return text if is_plain(text) else "".join(map(_escape, text))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode() if _is_control(character) else character


def one_line(text: object, most: int = 500) -> str:
    """Returns foreign text so that it is safe to print: one line, at most `most` characters, no control codes."""
    line = printable(str(text)[: most + 1])
    return line if len(line) <= most else f"{line[:most]}..."


def quoted(value: object) -> str:
    """Returns the repr of any value so that it is safe to print."""
    try:
        return one_line(" ".join(repr(value).split()))
    except Exception:  # such as an int with too many digits
        return f"a {type(value).__name__}"


def near(word: str, words: Iterable[str]) -> str:
    """Returns the end of a sentence about an unknown word: `": did you mean 'a' or 'b'?"`.

    Where no known word is near, it is `": there are a, b, c"`, or empty if there are more than 20.
    """
    words = sorted(set(words))
    tails = {w: w.rpartition(".")[2] for w in words}
    siblings = len({w.rpartition(".")[0] for w in [word, *words]}) == 1
    close = [] if siblings else difflib.get_close_matches(word, words, n=2, cutoff=0.65)
    if not close:  # compare the last parts of the paths, so that `learning_rate` alone is found too
        ends = difflib.get_close_matches(word.rpartition(".")[2], set(tails.values()), n=2, cutoff=0.6)
        close = [w for end in ends for w in words if tails[w] == end][:3]
    if close:
        return ": did you mean " + " or ".join(repr(w) for w in close) + "?"
    return ": there are " + ", ".join(words) if 0 < len(words) <= 20 else ""
