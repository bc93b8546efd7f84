"""R1 and R2 from differences of logits: no derivative by the image, so no second derivative."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..errors import NeedsWholeBatch
from ..pytree import interleaved, separated
from ..types import AxisName, Critic, Images, Key, PyTree, Samples, Scalar
from .base import Penalty


def r1_approx(scale: float = 0.01, share: float = 1.0) -> Penalty:
    """Returns `E ((D(x + s e) - D(x)) / s)^2 / 2` on real samples, with e ~ N(0, I) and s = `scale`.

    Its expectation over e is that of `r1` for a linear critic, and differs by terms of the order s^2 for any other
    one: so the weight is the gamma of `r1`. One e is drawn for each sample, so the value of one sample spreads
    with a standard deviation of sqrt(2) times its mean.

    It takes no second derivative, which some kernels do not have. On the whole batch it is not cheaper than `r1`:
    it needs as many FLOPs in a discriminator with batch norm, and more in one without. With `share=1/4` it needs
    a half or less (`docs/performance_notes.md` has the numbers).

    Lin et al., "Diffusion adversarial post-training for one-step video generation", 2025 (arXiv:2501.08316),
    section 3.4, which writes `lambda E ||D(x) - D(x + s e)||^2`: that lambda is a weight of `2 lambda s^2` here.
    Its values for images, lambda = 100 and s = 0.01, are a weight of 0.02; for videos it takes s = 0.1.

    Both passes see the same augmentation, and the same noise inside the discriminator. Of a map of logits the
    sum is taken, as in `r1`.

    The discriminator should compute in float32. In bfloat16 the rounding of D(x) adds to the difference: 4 to 7 %
    of the value at the start of training with s = 0.01, nothing that can be seen with s = 0.1
    (`benchmarks/approximate_penalties.py`), and more where D is flatter. There keep the discriminator alone in
    float32 (`dtype` of a model), take a larger `scale`, or take `r1`, which needs no difference. Also in float32
    a difference has its rounding error times 1 / s: devices, microbatches and compilers agree to fewer digits
    than with `r1`.

    Args:
        scale: the standard deviation s of the noise; images are in [-1, 1].
        share: the part of the batch that it is computed on, 1 over an integer k: samples 0, k, 2k, ... With
            microbatches these are samples of each part, so other ones than without.

    Raises:
        ValueError: `scale` is not above 0, or `share` is not 1, 1/2, 1/3, ... Under `pmap`, when it is applied: k
            does not divide a device's share of the batch, so other samples would be used than on one device.
    """
    return _approximate("r1_approx", lambda real, fake: real, scale, share, 1)


def r2_approx(scale: float = 0.01, share: float = 1.0) -> Penalty:
    """Returns `E ((D(G(z) + s e) - D(G(z))) / s)^2 / 2` on generated samples: `r2` as `r1_approx` is `r1`.

    Args:
        scale, share: as in `r1_approx`.

    Raises:
        ValueError: as in `r1_approx`.
    """
    return _approximate("r2_approx", lambda real, fake: fake, scale, share, 2)


def _approximate(
    name: str, chosen: Callable[[Samples, Samples], Samples], scale: float, share: float, purpose: int
) -> Penalty:
    """Builds the penalty; `purpose` is folded into the keys, so that R1 and R2 draw apart."""
    every = round(1 / share) if 0 < share <= 1 else 0
    if not scale > 0 or not every or abs(every * share - 1) > 1e-6:
        raise ValueError(
            f"{name} needs a scale above 0 and a share of 1, 1/2, 1/3, ... of the batch, got scale={scale} and "
            f"share={share}"
        )

    def apply(
        state: PyTree,
        critic: Critic,
        real: Samples,
        fake: Samples,
        keys: Key,
        *,
        axis_name: AxisName | None = None,
    ) -> tuple[Scalar, PyTree]:
        if axis_name is not None and keys.shape[0] % every:
            raise NeedsWholeBatch(
                f"{name} uses one of every {every} samples, but {every} does not divide the {keys.shape[0]} "
                "samples of a device: change share, the batch or the number of devices"
            )
        samples, keys = jax.tree.map(lambda x: x[::every], (chosen(real, fake), keys))

        def moved(key: Key, image: Images) -> Images:
            leaves, structure = jax.tree.flatten(image)
            own = [jax.random.fold_in(key, purpose + 2 * i) for i in range(len(leaves))]  # purpose is 1 or 2
            noise = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(own, leaves, strict=True)]
            return jax.tree.unflatten(structure, [x + scale * e for x, e in zip(leaves, noise, strict=True)])

        near = samples._replace(image=jax.vmap(moved)(keys, samples.image))
        if getattr(critic, "joint", False):
            there, beside = separated(critic(interleaved(samples, near)))
        else:
            there, beside = critic(samples), critic(near)
        slope = jnp.sum((beside - there).reshape(keys.shape[0], -1), axis=1) / scale
        return jnp.mean(slope**2) / 2, state

    # On the whole batch D(x) is the loss's own pass, if that reads real samples alone.
    return Penalty(name, lambda: (), apply, joint=every > 1, apart=every == 1)
