"""The compiled programs of a run: the initial state, an empty meter, samples, and the step."""

from collections.abc import Callable, Mapping

import jax
from jax.sharding import Sharding, SingleDeviceSharding

from ..config import Config
from ..config.build import SampleSpec, batch_spec
from ..data.source import Source
from ..gan import GAN, init
from ..ops import compiler_options
from ..runtime.background_compiler import BackgroundCompiler
from ..runtime.placement import Placement
from ..runtime.sampler import Sampler
from ..runtime.startup_timings import Timings
from ..state import GANState
from ..step import make_train_step
from ..step.meter import Carry, Meter, Reading, begin_read, reset
from ..types import Key, PyTree
from .shapes import state_shapes, traced_shapes


class Programs:
    """The programs of a run. They are traced here; `compile` compiles them, or else their first call does.

    `source` are the data, from which a GAN with `inputs` makes samples; None: it makes none.

    Attributes:
        shapes: of the carry.
        make_state: makes the state at step 0 from the run's key.
        empty_meter: makes a meter before its first step, on the devices.
        sampler: draws sample grids during the run.
        metrics_sampler: draws samples for metrics: without truncation, and compiled in full for speed.
        placed_step: the step on the devices, before it is compiled.
        step: `(carry, batch, *shared) -> (carry, step number)`.

    Raises:
        UserError: the GAN cannot be trained on such data; or it has no truncation, and the config asks for some.
    """

    def __init__(
        self,
        config: Config,
        gan: GAN,
        spec: SampleSpec,
        placement: Placement,
        resident: bool,
        source: Source | None = None,
    ):
        self._config, self._placement = config, placement
        self.key, batch = jax.random.key(config.seed), batch_spec(config, gan, spec)

        def new(key: Key) -> GANState:
            return init(gan, key, batch)

        # The key is an argument. If it were a constant, the compiler would compute the weights itself, slowly.
        places = placement.replicated
        if placement.sharded:
            places = placement.shardings(state_shapes(config, new))
        self._init = jax.jit(new, out_shardings=places, compiler_options=compiler_options(once=True))
        self.make_state: Callable[[Key], GANState] = self._init
        step = placement.step(gan)
        # A step with a device axis cannot be traced outside of it. Without one its metrics are the same.
        without_axis = step if step.axis_name is None else make_train_step(gan)
        self.shapes = traced_shapes(config, self._init, without_axis, batch)
        self.placed_step = placement.compile(
            step, self.shapes, gather=spec.shape if resident else None, fuse=config.parallel.fuse
        )
        self.batch_axis = self.placed_step.batch_axis
        self.step: Callable[..., tuple[Carry, jax.Array]] = self.placed_step
        self.sampler, self.metrics_sampler = self.make_samplers(config, gan, spec, source)
        self.empty_meter = jax.jit(lambda: reset(self.shapes.meter), out_shardings=placement.replicated)

    def make_samplers(
        self, config: Config, gan: GAN, spec: SampleSpec, source: Source | None
    ) -> tuple[Sampler, Sampler]:
        """Returns the samplers for sample grids and for metrics of a run with this config on these devices."""
        classes, precision = (spec.classes if config.conditional else None), self._placement.precision
        grids = Sampler(
            gan, config.seed, classes, config.sample.truncation, precision=precision, source=source,
            fast_compile=True,
        )  # fmt: skip
        return grids, Sampler(gan, config.seed, classes, precision=precision, source=source)

    def begin_read(self, meter: Meter) -> Reading:
        """Starts to read a meter; see `step.meter.begin_read`."""
        return begin_read(meter)

    def compile(
        self, *, starts: bool, chunk: Mapping[str, jax.ShapeDtypeStruct] | None, shared: PyTree, timings: Timings
    ) -> None:
        """Starts to compile, in the background, what the run will need soon.

        Args:
            starts: the run is new, so its first state is made and a sample grid is drawn.
            chunk: the shapes of what the loader gives for one call of the step; None: the run makes no step.
            shared: the shapes of the resident data, a tuple of one mapping or of none.
            timings: gets the seconds that each program takes.
        """
        placement = self._placement
        compiler = BackgroundCompiler(placement.devices[0].platform, timings)
        if starts:
            self.make_state = compiler("state", self._init.lower(self.key))
            ema = with_sharding(self.shapes.state.ema, SingleDeviceSharding(placement.local_device))
            self.sampler.compile(ema, self._config.sample.count, compiler)
        if chunk is not None:
            compiled = compiler("step", self.placed_step.lower(*self.step_arguments(chunk, shared)))
            self.step = lambda carry, batch, *shared: compiled(carry, batch, shared)
        compiler.close()

    def step_arguments(self, chunk: Mapping[str, jax.ShapeDtypeStruct], shared: PyTree) -> tuple[PyTree, ...]:
        """Returns the shapes of the step's arguments, and where they lie. Arguments as those of `compile`."""
        placement = self._placement
        return (
            placement.shapes(self.shapes),
            with_sharding(chunk, placement.batch_sharding(self.batch_axis)),
            *with_sharding(shared, placement.replicated),
        )


def with_sharding(shapes: PyTree, sharding: Sharding) -> PyTree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
