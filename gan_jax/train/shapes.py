"""The shapes of what training passes from step to step. They are known before anything is compiled."""

import contextlib
from collections.abc import Callable, Iterator

import jax

from ..config import Config
from ..config.build import SampleSpec, batch_spec
from ..errors import UserError
from ..gan import GAN, init
from ..state import GANState
from ..step import Step, make_train_step
from ..step.meter import Carry, make_meter
from ..types import Batch, Key


def carry_shapes(config: Config, gan: GAN, spec: SampleSpec) -> Carry:
    """Returns the shapes of the carry of a run.

    Raises:
        UserError: the GAN cannot be trained on such data.
    """
    batch = batch_spec(config, gan, spec)
    return traced_shapes(config, lambda key: init(gan, key, batch), make_train_step(gan), batch)


def traced_shapes(config: Config, make_state: Callable[[Key], GANState], step: Step, batch: Batch) -> Carry:
    """Returns the shapes of the carry, by tracing what makes the state and a step without a device axis.

    Raises:
        UserError: the GAN cannot be trained on such data.
    """
    state = state_shapes(config, make_state)
    with tracing_errors(config):
        metrics = jax.eval_shape(step, state, batch)[1]
    return Carry(state, jax.eval_shape(lambda: make_meter(metrics)))


def state_shapes(config: Config, make_state: Callable[[Key], GANState]) -> GANState:
    """Returns the shapes of the state.

    Raises:
        UserError: the GAN cannot be trained on such data.
    """
    with tracing_errors(config):
        return jax.eval_shape(make_state, jax.random.key(config.seed))


@contextlib.contextmanager
def tracing_errors(config: Config) -> Iterator[None]:
    """Turns an error of tracing into one sentence.

    Raises:
        UserError: the GAN cannot be trained on such data.
    """
    try:
        yield
    except (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise UserError(f"{config.name}: {str(error).splitlines()[0]}") from error
