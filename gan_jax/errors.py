"""The errors that a person is meant to read: one sentence each, and the exit code of the command line."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Input that cannot be used. The message is one sentence: what, where, and what to do. Exit code 2."""

    exit_code = 2


class NonFiniteError(UserError):
    """A loss, a gradient or a parameter stopped being finite. Exit code 3."""

    exit_code = 3


def first_line(error: Exception) -> str:
    """The first line of its message, or its name: to stand inside a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def one_line(text: object, most: int = 500) -> str:
    """What someone else wrote, for a sentence of ours: one line, not too long, nothing a terminal acts on."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[: most + 1])
    return line if len(line) <= most else f"{line[:most]}..."


def told(value: object) -> str:
    """A value of any kind for a sentence of ours."""
    try:
        return one_line(" ".join(repr(value).split()))
    except Exception:  # an int of too many digits, for one
        return f"a {type(value).__name__}"


def near(word: str, words: Iterable[str]) -> str:
    """`": did you mean 'a' or 'b'?"`, `": there are a, b, c"` where nothing is near, or nothing."""
    words = sorted(set(words))
    tails = {w: w.rpartition(".")[2] for w in words}
    siblings = len({w.rpartition(".")[0] for w in [word, *words]}) == 1
    close = [] if siblings else difflib.get_close_matches(word, words, n=2, cutoff=0.65)
    if not close:  # the head of a path must not drown its tail; `learning_rate` alone should be found too
        ends = difflib.get_close_matches(word.rpartition(".")[2], set(tails.values()), n=2, cutoff=0.6)
        close = [w for end in ends for w in words if tails[w] == end][:3]
    if close:
        return ": did you mean " + " or ".join(repr(w) for w in close) + "?"
    return ": there are " + ", ".join(words) if 0 < len(words) <= 20 else ""
