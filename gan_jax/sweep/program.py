"""The programs of several members as one: each array of the carry has the members in front, `[N, ...]`."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from ..config import Config
from ..config.build import Allow, SampleSpec, batch_spec, make_gan
from ..data.loader import Loader, resident_spec
from ..data.source import Source
from ..gan import init
from ..ops import compiler_options
from ..parallel import fuse_steps, jit_step
from ..runtime.background_compiler import BackgroundCompiler
from ..runtime.placement import Placement
from ..runtime.precision import traced_with
from ..runtime.startup_timings import Timings
from ..state import GANState
from ..step import Step, make_train_step
from ..step.meter import Carry, FirstBad, Means, Meter, begin_read_each, metered, reset
from ..train.programs import Programs, with_sharding
from ..types import Batch, Key, PyTree
from .varying import Numbers, check_traces, numbers_of, on_device, with_numbers


class PopulationPrograms:
    """What `train.loop.Run` calls of `Programs`, for several members at once.

    `carry.state.step` has no axis of members, because all members are at one step. So a lazy penalty is computed
    where it is due, and nowhere else. The key has none if all members have one seed: then latents and augmentation
    are drawn once for all.

    Args:
        members: their configs, which differ in the seed and in numbers.
        one: the programs of one member.
        spec: of the data.
        placement: one device.
        resident: whether the data set is kept on the device.
        allow: top-level packages that names may come from besides gan_jax; None: any.

    Raises:
        UserError: one program cannot compute all members.
    """

    def __init__(
        self,
        members: Sequence[Config],
        one: Programs,
        spec: SampleSpec,
        placement: Placement,
        resident: bool,
        allow: Allow = None,
    ):
        self.count, self.shapes, self.batch_axis = len(members), one.shapes, 0
        self._config, self._spec, self._placement, self._allow = members[0], spec, placement, allow
        self._gather = spec.shape if resident else None
        self.numbers = on_device(numbers_of(members))
        seeds = [member.seed for member in members]
        self.seeds = seeds if len(set(seeds)) > 1 else seeds[:1]
        self._keys_differ = len(self.seeds) > 1 or not self.numbers  # something has to have an axis of members
        keys = [jax.random.key(seed) for seed in seeds]
        self.key = jnp.stack(keys) if self._keys_differ else keys[0]
        self._batches = make_gan(members[0], spec, allow).batches_per_step
        check_traces(self.numbers, self._trace)
        self._init = jax.jit(
            jax.vmap(self._new, in_axes=(0 if self._keys_differ else None, 0), out_axes=self._axes.state),
            compiler_options=compiler_options(once=True),
        )
        self.make_state: Callable[[Key], GANState] = lambda key: self._init(key, self.numbers)
        by_seed = 0 if len(self.seeds) > 1 else None
        shared = (None,) if resident else ()
        self.placed_step = jit_step(
            Step(jax.vmap(self._step, in_axes=(self._axes, by_seed, 0, *shared), out_axes=(self._axes, None)))
        )
        self.step: Callable[..., tuple[Carry, jax.Array]] = lambda carry, batch, *shared: self.placed_step(
            carry, batch, self.numbers, *shared
        )
        self.empty_meter = jax.jit(lambda: jax.tree.map(self._repeated, reset(self.shapes.meter)))

    # -- one member, whose numbers are traced

    def _new(self, key: Key, numbers: Numbers) -> GANState:
        gan = make_gan(with_numbers(self._config, numbers), self._spec, self._allow)
        return init(gan, key, batch_spec(self._config, gan, self._spec))

    def _step(self, carry: Carry, batch: Batch, numbers: Numbers, *shared: PyTree) -> tuple[Carry, jax.Array]:
        gan = make_gan(with_numbers(self._config, numbers), self._spec, self._allow)
        step = make_train_step(gan)
        plain = Step(traced_with(self._placement.precision, step.function), step.batch_axis)
        one, fuse = metered(plain, self._gather), self._config.parallel.fuse
        return (fuse_steps(one, fuse) if fuse > 1 else one)(carry, batch, *shared)

    def _trace(self, numbers: Numbers) -> None:
        """Traces the initial state and one step of a member."""
        scalars = {
            path: jax.ShapeDtypeStruct((), number.dtype, weak_type=True) for path, number in numbers.items()
        }
        jax.eval_shape(self._new, jax.random.key(0), scalars)

        def step(state: GANState, numbers: Numbers) -> PyTree:
            gan = make_gan(with_numbers(self._config, numbers), self._spec, self._allow)
            return make_train_step(gan)(state, _zeros(batch_spec(self._config, gan, self._spec)))

        jax.eval_shape(step, self.shapes.state, scalars)

    # -- the axis of members

    @functools.cached_property
    def _axes(self) -> Carry:
        key = 0 if self._keys_differ else None
        state = GANState(step=None, key=key, generator=0, discriminator=0, ema=0, augment=0)  # type: ignore[arg-type]
        return Carry(state, 0)  # type: ignore[arg-type]

    def _repeated(self, leaf: PyTree) -> jax.Array:
        return jnp.broadcast_to(leaf, (self.count, *leaf.shape))

    def _with_axis(self, carry: Carry, change: Callable[[PyTree], PyTree]) -> Carry:
        """Changes what has an axis of members, and leaves the rest as it is."""
        state = carry.state
        changed = jax.tree.map(change, carry._replace(state=state.replace(step=(), key=())))
        key = change(state.key) if self._keys_differ else state.key
        return changed._replace(state=changed.state.replace(step=state.step, key=key))

    @functools.cached_property
    def take(self) -> Callable[[Carry, int], Carry]:
        """`(carry, i)` -> the carry of member i, without the axis of members."""
        return jax.jit(lambda carry, i: self._with_axis(carry, lambda x: jnp.take(x, i, axis=0)))

    def stack(self, carries: Sequence[Carry]) -> Carry:
        """Returns the carries of all members as one, on the device."""
        parts = [self._with_axis(one, lambda x: x[None]) for one in carries]
        first = parts[0].state
        bare = [one._replace(state=one.state.replace(step=(), key=())) for one in parts]
        joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *bare)
        key = jnp.concatenate([one.state.key for one in parts]) if self._keys_differ else first.key
        return joined._replace(state=joined.state.replace(step=first.step, key=key))

    def begin_read(self, meter: Meter) -> Callable[[], tuple[list[Means], list[FirstBad | None]]]:
        """Starts to read the meters of all members; see `step.meter.begin_read_each`."""
        return begin_read_each(meter)

    # -- compiling

    def compile(
        self, *, starts: bool, chunk: Mapping[str, jax.ShapeDtypeStruct] | None, shared: PyTree, timings: Timings
    ) -> None:
        """Starts to compile in the background; see `Programs.compile`."""
        compiler = BackgroundCompiler(self._placement.devices[0].platform, timings)
        if starts:
            make = compiler("state", self._init.lower(self.key, self.numbers))
            self.make_state = lambda key: make(key, self.numbers)
        if chunk is not None:
            compiled = compiler("step", self.lower(chunk, shared))
            self.step = lambda carry, batch, *shared: compiled(carry, batch, (self.numbers, *shared))
        compiler.close()

    def lower(self, chunk: Mapping[str, jax.ShapeDtypeStruct], shared: PyTree) -> jax.stages.Lowered:
        """Lowers the step. Arguments as those of `Programs.compile`."""
        place = SingleDeviceSharding(self._placement.devices[0])
        carry = self._with_axis(
            self.shapes, lambda x: jax.ShapeDtypeStruct((self.count, *x.shape), x.dtype, weak_type=False)
        )
        placed, batch, *rest = with_sharding((carry, dict(chunk), *shared), place)
        numbers = {
            path: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place, weak_type=True)
            for path, x in self.numbers.items()
        }
        return self.placed_step.lower(placed, batch, numbers, *rest)

    def lower_for(self, source: Source) -> jax.stages.Lowered:
        """Lowers the step for these data, as a run would."""
        config = self._config
        loader = Loader(
            source, seed=config.seed, batch=config.batch, batches_per_step=self._batches,
            fuse=config.parallel.fuse, resident=self._gather is not None, labels=config.conditional,
        )  # fmt: skip
        chunk, count = loader.spec, len(self.seeds)
        if count > 1:
            chunk = {name: jax.ShapeDtypeStruct((count, *one.shape), one.dtype) for name, one in chunk.items()}
        return self.lower(chunk, (resident_spec(source, config.conditional),) if self._gather is not None else ())


def _zeros(shapes: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
