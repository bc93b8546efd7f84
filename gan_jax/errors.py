"""The errors that a person is meant to read: one sentence each, and the exit code of the command line."""

LOST = 4  # the exit code where another process of the run is gone, and nothing tells why


class UserError(Exception):
    """Input that cannot be used. The message is one sentence: what, where, and what to do. Exit code 2."""

    exit_code = 2
    everywhere = False  # of several processes each raises it, so none of them is missed


class NonFiniteError(UserError):
    """A loss, a gradient or a parameter stopped being finite. Exit code 3."""

    exit_code = 3


def first_line(error: Exception) -> str:
    """The first line of its message, or its name: to stand inside a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
