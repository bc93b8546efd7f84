"""The generator's pass, with its penalties, as both players' updates use it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax

from ..outputs import split_output
from ..penalties import Penalty
from ..state import GANState
from ..types import Images, Latents, Metrics, PyTree, Samples, Scalar
from .devices import vary
from .draws import global_batch
from .inputs import UpdateInputs
from .passes import Passes
from .terms import weighted_sum

WeightedSum: TypeAlias = Callable[..., tuple[Scalar, tuple[PyTree, ...], Metrics]]


class GeneratorPass(NamedTuple):
    """One pass of the generator, which both players' updates can use.

    Attributes:
        image: the generated images, `[B, *S]`.
        penalty: the weighted sum of the generator's penalties.
        pullback: `(d image, d penalty) -> (d params,)`.
        model_state: the generator's model state after the pass.
        penalty_states: the states of its penalties after the pass.
        metrics: of its penalties.
        parts: returns the pullbacks of the image alone and of the penalty alone, `d -> d params`. Each makes the
            pass once more in the program, where the compiler finds that it is the same.
    """

    image: Images
    penalty: Scalar
    pullback: Callable[[tuple[Images, Scalar]], tuple[PyTree]]
    model_state: dict[str, PyTree]
    penalty_states: tuple[PyTree, ...]
    metrics: Metrics
    parts: Callable[[], tuple[Callable[[Images], PyTree], Callable[[Scalar], PyTree]]]


@dataclasses.dataclass(frozen=True)
class GeneratorPasses(Passes):
    """The passes of a `GAN`'s networks, and that of the generator with its penalties."""

    def images_seen(self, state: GANState, inputs: UpdateInputs) -> jax.Array:
        """Returns the images seen before this step: what schedules are functions of."""
        return state.step.astype(float) * global_batch(inputs.size, self.axis_name)

    def penalties(self, state: GANState, seen: jax.Array, inputs: UpdateInputs) -> WeightedSum:
        """Returns the function that sums penalties, `(terms, states, arguments)`, in this update."""
        return functools.partial(
            weighted_sum, step=state.step, images=seen, axis_name=self.axis_name,
            frozen=self.frozen, batch=inputs.batch,
        )  # fmt: skip

    def generator_pass(
        self, state: GANState, inputs: UpdateInputs, seen: jax.Array | None = None, carry: tuple | None = None
    ) -> GeneratorPass:
        """Makes the pass of the generator on the inputs of an update, or on a microbatch of them.

        Args:
            state: of the GAN.
            inputs: of the update.
            seen: the images seen, for schedules; None: as many as `state` and `inputs` say.
            carry: the generator's model state and the states of its penalties; None: those in `state`.
        """
        model_state, penalty_states = carry or (state.generator.model_state, state.generator.penalties)
        seen = self.images_seen(state, inputs) if seen is None else seen
        draws = inputs.draws
        real = Samples(inputs.image, inputs.label, draws.real)

        def run(params: PyTree) -> tuple:
            output, new_state = self.generate(params, model_state, draws.latents, draws)

            def generate(latents: Latents, /, **keywords: PyTree) -> PyTree:
                if latents is draws.latents and not keywords:
                    return output  # of the pass that was just made
                return self.generate(params, model_state, latents, draws, **keywords)[0]

            penalty, states, metrics = self.penalties(state, seen, inputs)(
                self.gan.generator_terms, penalty_states, {Penalty: (generate, draws.latents, real, draws.penalty)}
            )
            return (split_output(output)[0], penalty), (new_state, states, metrics)

        params = vary(state.generator.params, self.axis_name)
        (image, penalty), pullback, (new_state, states, metrics) = jax.vjp(run, params, has_aux=True)

        def parts() -> tuple[Callable[[Images], PyTree], Callable[[Scalar], PyTree]]:
            pulls = [jax.vjp(lambda params, i=i: run(params)[0][i], params)[1] for i in range(2)]
            return (lambda by: pulls[0](by)[0]), (lambda by: pulls[1](by)[0])

        return GeneratorPass(image, penalty, pullback, new_state, states, metrics, parts)
