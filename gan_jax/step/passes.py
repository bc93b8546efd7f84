"""Passes of the networks in training mode, as the updates make them."""

import dataclasses
from collections.abc import Callable
from typing import Self

import jax

from ..checks import check_aux, check_images, check_logit
from ..gan import GAN
from ..networks import call_network
from ..outputs import split_output
from ..penalties import Penalty
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
    frozen: PyTree = dataclasses.field(default=None, kw_only=True)
    """The third argument of the step."""
    mixing: dict[PyTree, str | None] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Results of `mixing_operation`, by the types of its arguments."""

    def reading(self, frozen: PyTree) -> Self:
        """Returns these passes with another third argument of the step. What was found of mixing is kept."""
        if frozen is None:
            return self
        passes = dataclasses.replace(self, frozen=frozen)
        object.__setattr__(passes, "mixing", self.mixing)
        return passes

    def generate(
        self, params: PyTree, model_state: dict, latents: Latents, draws: Draws, **keywords: PyTree
    ) -> tuple[PyTree, dict[str, PyTree]]:
        """Runs the generator in training mode: `(output, model_state)`.

        The output is images `[B, *S]`, `(images, aux)`, or what the network's `method` returns.
        """
        extra = {"label": draws.label, "axis_name": self.axis_name, "keys": draws.generator, **keywords}
        extra = {"frozen": self.frozen, **extra}
        params = vary(params, self.axis_name)
        output, new_state = call_network(self.gan.generator, params, model_state, latents, **extra)
        if "method" not in keywords:
            images, aux = split_output(output)
            check_images(images, draws.generator.shape[0])
            check_aux(aux, draws.generator.shape[0])
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
            label=samples.label, axis_name=self.axis_name, keys=keys, frozen=self.frozen,
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
        check_logit(logit, samples.key.shape[0])
        return logit

    def is_joint(self, params: PyTree, model_state: dict, augment: PyTree, real: Samples, fake: Samples) -> bool:
        """Returns whether the discriminator reads both batches in one pass: the same numbers, for less work."""
        gan = self.gan
        if not gan.joint_pass or not alike(real, fake):
            return False
        for term in gan.discriminator_terms:
            if isinstance(term.penalty, Penalty) and not term.penalty.joint and term.every == 1:
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
