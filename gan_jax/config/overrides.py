"""Applies overrides, `field=value` as text, to a config."""

import dataclasses
import typing
from collections.abc import Callable, Iterable, Iterator

from ..errors import UserError, near, one_line, quoted
from .aliases import advice
from .resolve import Call, default, field_types, keywords, resolve
from .schema import HOMES, Config
from .values import describe, is_number, may_be_call, parse

_NESTED = ("inputs", "latent", "loss")  # keywords of Calls that are looked up as the fields of these names


def override(config: Config, items: Iterable[str], *, allow: Iterable[str] | None = None) -> Config:
    """Returns `config` with each `"a.b=v"` applied.

    A field comes before what lies below it, so `data.source.path=x data.source=folder` may stand in any order.
    Other overrides are applied in turn.

    The value has the type of the field, or of the keyword in the function's signature. `loss=hinge` names another
    function and drops the keywords of the old one; `generator.width=32` sets one keyword. `allow`: see `resolve`.

    Raises:
        UserError: an override cannot be applied; it names the first.
    """
    pairs: list[tuple[str, str]] = []
    for item in items:
        path, equals, text = (part.strip() for part in item.partition("="))
        if not equals or not path:
            raise UserError(f"the override {quoted(item)} is not of the form field=value")
        pairs.append((path, text))
    for path, text in sorted(pairs, key=lambda pair: pair[0].count(".")):  # those of one depth stay in their order
        setter = _Setter(config, path, text, None if allow is None else tuple(allow))
        changed = setter.set(config, Config, "", path.split("."))
        assert isinstance(changed, Config)
        config = changed
    return config


def leaves(node: object, path: str = "", free: bool = False) -> Iterator[tuple[str, object, bool]]:
    """Yields `(path, value, free)` of every leaf of a tree of dataclasses, tuples of dataclasses, and Calls.

    A Call gives its name at its own path, and each keyword below it. `free`: the field may change on resume.
    """
    if isinstance(node, Call):
        yield path, node.name, free
        for key, value in node.items:
            yield from leaves(value, f"{path}.{key}", free)
    elif dataclasses.is_dataclass(node):
        for item in dataclasses.fields(node):
            below = f"{path}.{item.name}" if path else item.name
            yield from leaves(getattr(node, item.name), below, item.metadata.get("free", free))
    elif isinstance(node, tuple) and any(dataclasses.is_dataclass(item) for item in node):
        for index, item in enumerate(node):
            yield from leaves(item, f"{path}.{index}", free)
    else:
        yield path, node, free


def without_indices(path: str) -> str:
    """Returns the path of a field without the indices of tuples, as in `HOMES`."""
    return ".".join(part for part in path.split(".") if not part.isdigit())


def home_of(path: str) -> str:
    """Returns the key in `HOMES` of what a name at this path of a config means.

    A Call among the keywords of a data set is a data set, at any depth. Among those of another Call, the keywords
    `inputs`, `latent` and `loss` mean what the fields of these names mean; any other is a schedule.
    """
    plain = without_indices(path)
    if plain in HOMES:
        return plain
    if plain.startswith("data.source."):
        return "data.source"
    keyword = plain.rpartition(".")[2]
    return keyword if keyword in _NESTED else "schedule"


@dataclasses.dataclass(frozen=True)
class _Setter:
    """Sets the field at `path` in `root` to what `text` means."""

    root: Config
    path: str
    text: str
    allow: tuple[str, ...] | None

    def unknown(self) -> UserError:
        if found := advice(self.path, self.text):
            return UserError(f"unknown field {quoted(self.path)}: {found}")
        known = {path for path, _, _ in leaves(self.root)}
        known |= {path.partition(".")[0] for path in known}
        head = self.path.rpartition(".")[0]
        siblings = [path for path in known if path.rpartition(".")[0] == head and head]
        return UserError(f"unknown field {quoted(self.path)}{near(self.path, siblings) or near(self.path, known)}")

    def wrong(self, wanted: str) -> UserError:
        return UserError(f"{one_line(self.path)} wants {wanted}, got {quoted(self.text)}")

    def resolve(self, name: str, path: str) -> Callable[..., object]:
        home = HOMES[home_of(path)]
        try:
            return resolve(name, home.module, home.attribute, allow=self.allow)
        except UserError as error:
            raise UserError(f"{one_line(f'{self.path}={self.text}')}: {error}") from error

    def set(self, node: object, hint: object, path: str, rest: list[str]) -> object:
        """Returns `node`, which lies at `path`, with the value at `rest` below it replaced."""
        if not rest:
            return self.value(node, hint)
        part, *rest = rest
        below = f"{path}.{part}" if path else part
        if isinstance(node, Call):
            function = self.resolve(node.name, path)
            known, takes_any = keywords(function)
            if part not in known and not takes_any:
                takes = ", ".join(sorted(known)) or "no keywords"
                end = near(below, [f"{path}.{key}" for key in known]) or f": {node.name} takes {takes}"
                if below == "data.source.path":  # the source is another one, often that of a recipe
                    end = f", because data.source={node.name}: {advice(part, self.text)}"
                raise UserError(f"unknown field {quoted(below)}{end}")
            now = node.kwargs[part] if part in node.kwargs else default(function, part)
            value = self.set(now, known.get(part, object), below, rest)
            return Call(node.name, **{**node.kwargs, part: value})
        if isinstance(node, tuple) and part in map(str, range(len(node))):
            index = int(part)
            item = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else object
            value = self.set(node[index], item, below, rest)
            return (*node[:index], value, *node[index + 1 :])
        if dataclasses.is_dataclass(node) and part in {item.name for item in dataclasses.fields(node)}:
            hints = field_types(type(node) if hint is object else hint)
            value = self.set(getattr(node, part), hints[part], below, rest)
            return dataclasses.replace(node, **{part: value})  # type: ignore[type-var]
        if may_be_call(hint):
            raise UserError(f"{one_line(path)} names no function yet: say {one_line(path)}=NAME first")
        raise self.unknown()

    def value(self, node: object, hint: object) -> object:
        """Returns what the text means in the place of `node`."""
        if dataclasses.is_dataclass(node) and not isinstance(node, Call):
            fields = ", ".join(f"{self.path}.{item.name}" for item in dataclasses.fields(node))
            if found := advice(self.path, self.text):
                raise UserError(f"{self.path} is a group of fields: {found}")
            raise UserError(f"{self.path} is a group, set one of its fields: {fields}")
        try:
            value = parse(self.text, hint)
            if hint is str or not (isinstance(value, str) and isinstance(node, Call)):
                return value
        except ValueError:
            if not (isinstance(node, Call) or may_be_call(hint)) or is_number(self.text):
                raise self.wrong(describe(hint)) from None
        self.resolve(self.text, self.path)
        is_same = isinstance(node, Call) and node.name == self.text
        return node if is_same else Call(self.text)
