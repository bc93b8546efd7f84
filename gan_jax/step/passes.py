"""Passes of the networks in training mode, as the updates make them."""

import dataclasses
from collections.abc import Callable

import jax

from ..checks import check_images, check_logit
from ..gan import GAN
from ..networks import call_network
from ..pytree import alike, interleaved, separated, widened
from ..types import AxisName, Latents, Logits, PyTree, Samples
from .devices import vary
from .draws import Draws
from .independence import mixing_primitive
from .samples_apart import check_logit_apart


@dataclasses.dataclass(frozen=True)
class ClosedCritic:
    """A `Critic`: `function` of one batch, and whether the loss reads real and generated samples as one batch."""

    function: Callable[[Samples], jax.Array]
    joint: bool

    def __call__(self, samples: Samples, /) -> jax.Array:
        return self.function(samples)


@dataclasses.dataclass(frozen=True)
class Passes:
    """The passes of a `GAN`'s networks, on the device axis `axis_name` (under `pmap`) or on none."""

    gan: GAN
    axis_name: AxisName | None
    mixing: dict[PyTree, str | None] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Results of `mixing_operation`, by the types of its arguments."""

    def generate(
        self, params: PyTree, model_state: dict, latents: Latents, draws: Draws, **keywords: PyTree
    ) -> tuple[PyTree, dict[str, PyTree]]:
        """Runs the generator in training mode: `(images [B, *S], model_state)`, or what its `method` returns."""
        extra = {"label": draws.label, "axis_name": self.axis_name, "keys": draws.generator, **keywords}
        params = vary(params, self.axis_name)
        output, new_state = call_network(self.gan.generator, params, model_state, latents, **extra)
        if "method" not in keywords:
            check_images(output, draws.generator.shape[0])
        return output, new_state

    def discriminate(
        self, params: PyTree, model_state: dict, augment: PyTree, samples: Samples
    ) -> tuple[Logits, dict[str, PyTree]]:
        """Runs `D(augment(image, key), label)` in training mode: `(output in float32 at least, model_state)`.

        The augmentation gets `fold_in(key, 0)` and the network `fold_in(key, 1)`, so they share no random draw.
        """
        for_augment, keys = (jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(samples.key) for i in (0, 1))
        image = self.gan.augment.apply(augment, samples.image, for_augment)
        output, model_state = call_network(
            self.gan.discriminator,
            vary(params, self.axis_name), model_state, image,
            label=samples.label, axis_name=self.axis_name, keys=keys,
        )  # fmt: skip
        return widened(output), model_state

    def discriminate_both(
        self, params: PyTree, model_state: dict, augment: PyTree, real: Samples, fake: Samples, joint: bool
    ) -> tuple[Logits, Logits, dict[str, PyTree]]:
        """Runs the discriminator on both batches: `(output on reals, output on fakes, model_state)`.

        Args:
            params, model_state, augment: as in `discriminate`.
            real, fake: the two batches.
            joint: one pass over both (see `is_joint`). Otherwise the second pass gets the state after the first.
        """
        if joint:
            output, after = self.discriminate(params, model_state, augment, interleaved(real, fake))
            return *separated(output), after
        on_real, after_real = self.discriminate(params, model_state, augment, real)
        on_fake, after = self.discriminate(params, after_real, augment, fake)
        return on_real, on_fake, after

    def critic(self, params: PyTree, model_state: dict, augment: PyTree, joint: bool) -> ClosedCritic:
        """Returns the critic that penalties differentiate."""

        def logits(samples: Samples) -> jax.Array:
            return self.logit(self.discriminate(params, model_state, augment, samples)[0], samples)

        return ClosedCritic(logits, joint)

    def logit(self, output: Logits, samples: Samples) -> jax.Array:
        """Returns the critic's logit of what the discriminator returned for these samples."""
        if self.axis_name is not None:
            check_logit_apart(self.gan.loss, output)
        logit = self.gan.loss.logit(output)
        check_logit(logit, samples.image.shape[0])
        return logit

    def is_joint(self, params: PyTree, model_state: dict, augment: PyTree, real: Samples, fake: Samples) -> bool:
        """Returns whether the discriminator reads both batches in one pass: the same numbers, for less work."""
        gan = self.gan
        if not gan.joint_pass or not alike(real, fake):
            return False
        if not all(term.penalty.joint or term.every > 1 for term in gan.discriminator_terms):
            return False
        return self.mixing_operation(params, model_state, augment, interleaved(real, fake)) is None

    def mixing_operation(self, params: PyTree, model_state: dict, augment: PyTree, samples: Samples) -> str | None:
        """Names the first operation by which the discriminator, with its augmentation, may mix samples.

        None: it keeps samples apart. "model_state": it changes its state, so it counts passes at least. The answer
        is kept, since it costs a trace of the network.
        """
        arguments = (params, model_state, augment, samples)
        leaves, structure = jax.tree.flatten(arguments)
        types = (structure, *map(jax.typeof, leaves))
        if types not in self.mixing:
            self.mixing[types] = self._mixing_operation(arguments)
        return self.mixing[types]

    def _mixing_operation(self, arguments: tuple[PyTree, dict, PyTree, Samples]) -> str | None:
        traced, (outputs, _) = jax.make_jaxpr(self.discriminate, return_shape=True)(*arguments)
        params, states, _, samples = (len(jax.tree.leaves(argument)) for argument in arguments)
        outputs, program = jax.tree.leaves(outputs), traced.jaxpr
        if program.outvars[len(outputs) :] != program.invars[params : params + states]:
            return "model_state"
        if any(leaf.shape[:1] != arguments[3].key.shape for leaf in outputs):
            return "output"
        return mixing_primitive(traced, [None] * (len(program.invars) - samples) + [0] * samples)
