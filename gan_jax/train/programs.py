"""The compiled programs of a run: initial state, empty meter, pictures, and the step."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding

from ..config import Config
from ..config.build import SampleSpec, batch_spec, chunk_spec, resident_spec
from ..gan import GAN, init
from ..ops import compiler_options
from ..runtime.background_compiler import BackgroundCompiler
from ..runtime.placement import Placement
from ..runtime.sampler import Sampler
from ..runtime.startup_timings import Timings
from ..state import GANState
from ..step import make_train_step
from ..step.meter import reset
from .carry import eval_state, traced_shapes


class Programs:
    """Traced here; compiled by `compile`, or else when they are called.

    Attributes:
        shapes: of the carry.
        make_state: the state at step 0, of the run's key.
        empty_meter: a meter before its first step, made on the devices.
        sampler: for pictures during the run. many: for metrics: without
            truncation, and at the speed that compiling in full buys.
        step: `((state, meter), batch, *shared) -> ((state, meter), step number)`.

    Raises:
        UserError: the game can't be played on such data; truncation is asked of a generator without.
    """

    def __init__(self, config: Config, gan: GAN, spec: SampleSpec, placement: Placement, resident: bool):
        self._config, self._spec, self._placement, self._resident = config, spec, placement, resident
        self.key, batch = jax.random.key(config.seed), batch_spec(config, spec)

        def new(key: Any) -> GANState:
            return init(gan, key, batch)

        # The key is an argument: of a constant, the compiler would work out the weights itself, slowly.
        self._init = jax.jit(
            new,
            out_shardings=placement.shardings(eval_state(config, new))
            if placement.sharded
            else placement.replicated,
            compiler_options=compiler_options(once=True),
        )
        self.make_state: Callable[..., Any] = self._init
        step = placement.step(gan)
        # A step over a device axis can't be traced outside of it; without, its metrics are the same.
        alone = step if step.axis_name is None else make_train_step(gan)
        self.shapes = traced_shapes(config, self._init, alone.function, batch)
        self._step = placement.compile(step, self.shapes, gather=resident, fuse=config.parallel.fuse)
        self.batch_axis, self.step = self._step.batch_axis, self._step
        classes = spec.classes if config.conditional else None
        asked: Any = {"precision": placement.precision}
        self.sampler = Sampler(gan, config.seed, classes, config.sample.truncation, fast_compile=True, **asked)
        self.many = Sampler(gan, config.seed, classes, **asked)
        self.empty_meter = jax.jit(lambda: reset(self.shapes.meter), out_shardings=placement.replicated)

    def compile(self, *, anew: bool, trains: bool, samples: int, timings: Timings) -> None:
        """Start to compile, beside what comes now, what will be needed soon.

        Args:
            anew: the run begins, so its state is made and a picture is drawn.
            trains: it makes steps.
            samples: in the data set.
            timings: gets the seconds that each program takes.
        """
        placement, config = self._placement, self._config
        ahead = BackgroundCompiler(placement.devices[0].platform, timings)
        carry = placement.shapes(self.shapes)
        if anew:
            self.make_state = ahead("state", self._init.lower(self.key))
            one = SingleDeviceSharding(placement.local_device)
            self.sampler.compile(placed(self.shapes.state.ema, one), config.sample.count, ahead)
        if trains:
            batch = placed(
                chunk_spec(config, self._spec, self._resident), placement.batch_sharding(self.batch_axis)
            )
            shared = (resident_spec(config, self._spec, samples),) if self._resident else ()
            lowered = self._step.lower(tuple(carry), batch, *placed(shared, placement.replicated))
            compiled = ahead("step", lowered)
            self.step = lambda carry, batch, *shared: compiled(carry, batch, shared)
        ahead.close()


def placed(shapes: Any, sharding: Any) -> Any:
    """Shapes with a sharding."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
