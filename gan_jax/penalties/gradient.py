"""Gradient penalties on the discriminator.

They differentiate the logits by the image *before* augmentation, through the augmentation. They sum over the
elements of a sample and take the mean over the batch, in float32.
"""

import jax
import jax.numpy as jnp

from ..pytree import interleaved
from ..types import Critic, Images, Key, PyTree, Samples, Scalar
from .base import Penalty, image_gradient, safe_norm, squared_norm, stateless


def r1() -> Penalty:
    """Returns `E ||grad D(x)||^2 / 2` on real samples. The weight is the papers' gamma.

    Mescheder et al., "Which training methods for GANs do actually converge?", 2018, equation 9.
    """
    return stateless(
        "r1", lambda critic, real, fake, keys: jnp.mean(squared_norm(image_gradient(critic, real))) / 2
    )


def r2() -> Penalty:
    """Returns `E ||grad D(G(z))||^2 / 2` on generated samples. The weight is the papers' gamma.

    Mescheder et al., 2018, as for `r1`.
    """
    return stateless(
        "r2", lambda critic, real, fake, keys: jnp.mean(squared_norm(image_gradient(critic, fake))) / 2
    )


def r1_r2() -> Penalty:
    """Returns `r1` plus `r2`, from one pullback.

    Real and generated samples are one batch for the critic where they are one for the loss (`GAN.joint_pass`), and
    two batches elsewhere. Huang et al., "The GAN is dead; long live the GAN!", 2024, section 3.
    """

    def value(critic: Critic, real: Samples, fake: Samples, keys: Key) -> Scalar:
        if getattr(critic, "joint", False):
            return jnp.mean(squared_norm(image_gradient(critic, interleaved(real, fake))))

        def both(images: tuple[Images, Images]) -> PyTree:
            return critic(real._replace(image=images[0])), critic(fake._replace(image=images[1]))

        logits, pullback = jax.vjp(both, (real.image, fake.image))
        on_real, on_fake = pullback(jax.tree.map(jnp.ones_like, logits))[0]
        return (jnp.mean(squared_norm(on_real)) + jnp.mean(squared_norm(on_fake))) / 2

    return stateless("r1_r2", value, joint=True)


def _per_sample(values: jax.Array, like: jax.Array) -> jax.Array:
    """Reshapes `[B]` values so that they broadcast against images."""
    return values.reshape(values.shape + (1,) * (like.ndim - 1))


def wgan_gp(target: float = 1.0) -> Penalty:
    """Returns `E (||grad D(x_hat)|| - target)^2` at `x_hat = x + e (G(z) - x)`, with e ~ U(0, 1).

    One e is drawn for each sample. `x_hat` has the label and the augmentation of the real sample x. The usual
    weight is 10. Gulrajani et al., "Improved training of Wasserstein GANs", 2017, equation 3.
    """

    def value(critic: Critic, real: Samples, fake: Samples, keys: Key) -> Scalar:
        dtype = jax.tree.leaves(real.image)[0].dtype
        mix = jax.vmap(lambda key: jax.random.uniform(key, (), dtype))(keys)
        between = jax.tree.map(lambda r, f: r + _per_sample(mix, r) * (f - r), real.image, fake.image)
        square = squared_norm(image_gradient(critic, real._replace(image=between)))
        return jnp.mean((safe_norm(square) - target) ** 2)

    return stateless("wgan_gp", value, joint=True)


def dragan(scale: float = 0.5, target: float = 1.0) -> Penalty:
    """Returns `E (||grad D(x_hat)|| - target)^2` around the data: `x_hat = x + e * scale * std(x) * u`.

    u is uniform noise in [0, 1], drawn for each element; e ~ U(0, 1) is drawn for each sample. std(x) is the
    standard deviation over the elements of one sample. (The authors use that of the whole batch, which would mix
    samples.) The usual weight is 10. Kodali et al., "On convergence and stability of GANs", 2017.
    """

    def noisy(key: Key, image: Images) -> Images:
        leaves, structure = jax.tree.flatten(image)
        keys = [key, *(jax.random.fold_in(key, i) for i in range(1, len(leaves)))]
        return jax.tree.unflatten(structure, map(noisy_array, keys, leaves))

    def noisy_array(key: Key, image: jax.Array) -> jax.Array:
        elements, one = jax.random.split(key)
        noise = jax.random.uniform(elements, image.shape, image.dtype)
        return image + jax.random.uniform(one, (), image.dtype) * scale * jnp.std(image) * noise

    def value(critic: Critic, real: Samples, fake: Samples, keys: Key) -> Scalar:
        around = real._replace(image=jax.vmap(noisy)(keys, real.image))
        return jnp.mean((safe_norm(squared_norm(image_gradient(critic, around))) - target) ** 2)

    return stateless("dragan", value, joint=True)
