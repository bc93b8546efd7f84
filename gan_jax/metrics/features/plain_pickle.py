"""Reads the opcodes of a pickle that make plain values, and refuses all others.

Python's `pickle` is not used, also not with a `find_class` that refuses names: a pickle of a few bytes makes it
take 64 GiB of memory for an index, hash a tuple of tuples for years, or end the process by a deep one. Here only
texts and numbers are keys, and an index needs no memory.
"""

import abc
import pickletools
from typing import Any, BinaryIO

_CONSTANTS = {  # opcodes whose argument is the value
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8",
}  # fmt: skip
_NEW = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict,
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}


class Refused(Exception):
    """Says what is wrong with a file, in a phrase that follows its name."""


class PlainUnpickler(abc.ABC):
    """Reads one pickle. A subclass says what the names and the references in it are.

    Args:
        file: is read from where it stands, to the end of the pickle.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    @abc.abstractmethod
    def find(self, module: str, name: str) -> object:
        """Returns what stands in for a name in a pickle, or raises Refused."""

    @abc.abstractmethod
    def call(self, function: object, arguments: tuple) -> object:
        """Returns what a call of a stand-in gives, or raises Refused."""

    @abc.abstractmethod
    def set_state(self, value: object) -> None:
        """Raises Refused if a pickle must not give attributes to a value. They are left out."""

    @abc.abstractmethod
    def refer(self, reference: object) -> object:
        """Returns what a persistent reference means, or raises Refused."""

    @abc.abstractmethod
    def store(self, target: dict, key: object, value: object) -> None:
        """Puts an item into a dictionary, leaves it out, or raises Refused. The key may be any value."""

    def load(self) -> object:
        """Returns the value of the pickle.

        Raises:
            Refused: it has an opcode, a name or a reference that is not allowed.
            Exception: nearly any other one, for a damaged pickle.
        """
        for opcode, argument, _ in pickletools.genops(self._file):
            self._step(opcode.name, argument)
        return self._stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _CONSTANTS:
            stack.append(argument)
        elif name in _NEW:
            stack.append(_NEW[name]())
        elif name in _PUT:
            self._memo[argument] = stack[-1]
        elif name in _GET:
            stack.append(self._memo[argument])
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name == "GLOBAL":
            stack.append(self.find(*argument.split(" ", 1)))
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._combine(name)

    def _combine(self, name: str) -> None:
        """Replaces values on the stack by what an opcode makes of them."""
        stack = self._stack
        if name in _TUPLES:
            stack.append(tuple(self._last(_TUPLES[name])))
        elif name in ("TUPLE", "LIST"):
            stack.append((tuple if name == "TUPLE" else list)(self._since_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = self._last(1) if name == "APPEND" else self._since_mark()
            _checked(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS", "DICT"):
            items = self._last(2) if name == "SETITEM" else self._since_mark()
            stack.extend([{}] if name == "DICT" else [])
            self.fill(_checked(stack[-1], dict), items)
        elif name in ("REDUCE", "NEWOBJ"):
            function, arguments = self._last(2)
            stack.append(self.call(function, _checked(arguments, tuple)))
        elif name == "BUILD":
            self._last(1)
            self.set_state(stack[-1])
        elif name == "BINPERSID":
            stack.append(self.refer(stack.pop()))
        elif name == "STACK_GLOBAL":
            stack.append(self.find(*(_checked(one, str) for one in self._last(2))))
        else:
            raise Refused(f"has the opcode {name}, which no file of weights needs: it was not read further")

    def fill(self, target: dict, items: list) -> None:
        """Puts keys and values, which follow each other, into a dictionary."""
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.store(target, key, value)

    def _last(self, count: int) -> list:
        taken = [self._stack.pop() for _ in range(count)]
        return taken[::-1]

    def _since_mark(self) -> list:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise Refused(f"is damaged: it has {type(value).__name__} where {kind.__name__} belongs")
    return value
