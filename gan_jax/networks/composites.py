"""Several networks as one, and a network that reads a function of its input."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax

from ..types import Key, Network, PyTree, Variables
from . import call
from .keywords import Composite


@dataclasses.dataclass(frozen=True)
class Ensemble(Composite):
    """Several networks as one; see `ensemble`.

    Attributes:
        names: of the members.
        parts: the members.
        by_name: the output is a dict with these names; otherwise it is a tuple.
    """

    names: tuple[str, ...]
    parts: tuple[Network, ...]
    by_name: bool

    @property
    def members(self) -> dict[str, Network]:
        return dict(zip(self.names, self.parts, strict=True))

    @property
    def statistics(self) -> tuple[str, ...]:
        return tuple(sorted({name for part in self.parts for name in call.statistics_names(part)}))

    @property
    def classes(self) -> int | None:
        """The number of classes that every member knows; None: no member says how many."""
        found = [getattr(part, "classes", None) for part in self.parts]
        return min((count for count in found if isinstance(count, int)), default=None)

    def init(self, key: Key, *args: PyTree, keys: Key | None = None, **keywords: PyTree) -> dict[str, PyTree]:
        variables = {"params": {}}
        for i, (name, member) in enumerate(self.members.items()):
            own, state = call.init_network(
                member, jax.random.fold_in(key, i), *args, keys=_own_keys(keys, i), **keywords
            )
            _put(variables, name, call.join_variables(own, state))
        return variables

    def apply(
        self,
        variables: Variables,
        *args: PyTree,
        train: bool = False,
        keys: Key | None = None,
        mutable: Sequence[str] | None = None,
        **keywords: PyTree,
    ) -> PyTree:
        outputs, changed = {}, {name: {} for name in mutable or ()}
        for i, (name, member) in enumerate(self.members.items()):
            own, extra = member_state(variables, name), {**keywords, "train": train, "keys": _own_keys(keys, i)}
            outputs[name], state = _call(member, own, args, mutable, extra)
            _put(changed, name, state)
        output = outputs if self.by_name else tuple(outputs.values())
        return output if mutable is None else (output, changed)

    def refresh(self, variables: Variables) -> dict[str, PyTree]:
        result = {name: dict(tree) for name, tree in variables.items()}
        for name, member in self.members.items():
            params, state = call.split_variables(member_state(variables, name), member)
            _put(result, name, call.refresh(member, params, state))
        return result


@dataclasses.dataclass(frozen=True)
class After(Composite):
    """A network that reads a function of its input; see `after`."""

    function: Callable[[PyTree], PyTree]
    parts: tuple[Network, ...]

    @property
    def network(self) -> Network:
        return self.parts[0]

    @property
    def statistics(self) -> tuple[str, ...]:
        return call.statistics_names(self.network)

    @property
    def classes(self) -> int | None:
        return getattr(self.network, "classes", None)

    def init(self, key: Key, inputs: PyTree, *args: PyTree, **keywords: PyTree) -> dict[str, PyTree]:
        params, state = call.init_network(self.network, key, self.function(inputs), *args, **keywords)
        return call.join_variables(params, state)

    def apply(
        self,
        variables: Variables,
        inputs: PyTree,
        *args: PyTree,
        train: bool = False,
        mutable: Sequence[str] | None = None,
        **keywords: PyTree,
    ) -> PyTree:
        args, extra = (self.function(inputs), *args), {**keywords, "train": train}
        output, state = _call(self.network, variables, args, mutable, extra)
        return output if mutable is None else (output, state)

    def refresh(self, variables: Variables) -> dict[str, PyTree]:
        params, state = call.split_variables(variables, self.network)
        return call.join_variables(params, call.refresh(self.network, params, state))


def ensemble(members: Sequence[Network] | Mapping[str, Network]) -> Ensemble:
    """Returns several networks as one network. It calls each of them with the same input.

        discriminator = networks.ensemble({"full": d1, "half": networks.after(downsample, d2)})
        loss = losses.over_members(losses.hinge())

    It returns a dict of their outputs, or a tuple if `members` is a sequence. Members may be of any library. Each
    gets the keywords that it names (see `Network`), is refreshed if it has `refresh`, and has its own parameters:
    member i starts from `fold_in(key, i)`, and draws from `fold_in(key, i)` of each sample's key. Its parameters
    and its other collections lie in those of the ensemble under its name: `"member_0"`, `"member_1"`, ... in a
    sequence.

    Under `pmap` and `shard_step` each member is checked as it would be alone.

    Args:
        members: the networks.

    Raises:
        ValueError: there is none, or one is no network.
    """
    by_name = isinstance(members, Mapping)
    named = dict(members) if by_name else {f"member_{i}": member for i, member in enumerate(members)}
    if not named:
        raise ValueError("an ensemble needs at least one network")
    for name, member in named.items():
        if isinstance(member, type) or not (hasattr(member, "init") and hasattr(member, "apply")):
            raise ValueError(
                f"the member {name!r} of an ensemble must be an object with init and apply, such as a Linen "
                f"module (other libraries need an adapter of gan_jax.networks), got {member!r}"
            )
    return Ensemble(tuple(map(str, named)), tuple(named.values()), by_name)


def after(function: Callable[[PyTree], PyTree], network: Network) -> After:
    """Returns the network that reads `function` of its input: a crop, a spectrogram, a lower resolution.

        half = networks.after(lambda image: image[:, ::2, ::2], discriminator)

    Args:
        function: of the input `[B, ...]`. It treats each sample apart, and has neither parameters nor draws.
        network: gets what the function returns.
    """
    return After(function, (network,))


def member_state(collections: Mapping[str, PyTree], name: str) -> dict[str, PyTree]:
    """Returns the collections of one member, from those of the ensemble."""
    return {kind: tree[name] for kind, tree in collections.items() if name in tree}


def _put(variables: dict[str, PyTree], name: str, own: Mapping[str, PyTree]) -> None:
    """Puts the collections of the member `name` into those of the ensemble."""
    for kind, tree in own.items():
        variables.setdefault(kind, {})[name] = tree


def _own_keys(keys: Key | None, member: int) -> Key | None:
    return None if keys is None else jax.vmap(lambda key: jax.random.fold_in(key, member))(keys)


def _call(
    network: Network, variables: Variables, args: tuple, mutable: Sequence[str] | None, keywords: dict[str, PyTree]
) -> tuple[PyTree, dict[str, PyTree]]:
    """Calls a part of a composite: `(output, those of its collections that may change)`."""
    params, state = call.split_variables(variables, network)
    may_change = [name for name in state if name in (mutable or ())]
    if not may_change:
        return call.sample_network(network, variables, *args, **keywords), {}
    output, state = call.call_network(network, params, state, *args, **{**keywords, "mutable": may_change})
    return output, {name: state[name] for name in may_change}
