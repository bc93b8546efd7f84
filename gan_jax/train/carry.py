"""What training passes from step to step, and what a checkpoint holds."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from ..config import Config
from ..config.build import SampleSpec, batch_spec
from ..errors import UserError
from ..gan import GAN, init
from ..state import GANState
from ..step import make_train_step
from ..step.meter import Meter, make_meter


class Carry(NamedTuple):
    """The state of the game, and the sums of metrics since the last line of the log."""

    state: GANState
    meter: Meter


def carry_shapes(config: Config, gan: GAN, spec: SampleSpec) -> Carry:
    """Shapes of the carry.

    Raises:
        UserError: as `gan_jax.init` and the networks say.
    """
    batch = batch_spec(config, spec)
    return traced_shapes(config, lambda key: init(gan, key, batch), make_train_step(gan), batch)


def traced_shapes(config: Config, make_state: Callable[..., Any], step: Callable[..., Any], batch: Any) -> Carry:
    """Shapes of the carry, by tracing what makes its state and a step that is no part of a device axis.

    Raises:
        UserError: as `gan_jax.init` and the networks say.
    """
    state = eval_state(config, make_state)
    with in_words(config):
        metrics = jax.eval_shape(step, state, batch)[1]
    return Carry(state, jax.eval_shape(lambda: make_meter(metrics)))


def eval_state(config: Config, make_state: Callable[..., Any]) -> Any:
    """Shapes of the state.

    Raises:
        UserError: as `traced_shapes`.
    """
    with in_words(config):
        return jax.eval_shape(make_state, jax.random.key(config.seed))


@contextlib.contextmanager
def in_words(config: Config) -> Iterator[None]:
    """A game that can't be played on such data is one sentence, where it is traced.

    Raises:
        UserError: as `gan_jax.init` and the networks say.
    """
    try:
        yield
    except (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise UserError(f"{config.name}: {str(error).splitlines()[0]}") from error
