"""Networks written by hand: two functions, `init` and `apply`, and no library of layers."""

import jax
import jax.numpy as jnp

import gan_jax


def perceptron(*widths: int):
    def init(key, x):
        layers = zip(jax.random.split(key, len(widths)), (x.shape[-1], *widths), widths)
        return {"params": [(jax.random.normal(k, (i, o)) / i**0.5, jnp.zeros(o)) for k, i, o in layers]}

    def apply(variables, x):
        *hidden, (kernel, bias) = variables["params"]
        for w, b in hidden:
            x = jax.nn.leaky_relu(x @ w + b, 0.2)
        return x @ kernel + bias

    return gan_jax.networks.from_functions(init, apply)


adam, r1 = gan_jax.optimizers.adam(1e-3), gan_jax.Term(0.1, gan_jax.penalties.r1())
generator, discriminator = perceptron(64, 64, 2), perceptron(64, 64, 1)
loss, latent = gan_jax.losses.non_saturating(), gan_jax.latents.normal(4)
gan = gan_jax.GAN(generator, discriminator, loss, adam, adam, latent, discriminator_terms=(r1,))
angle = jax.random.uniform(jax.random.key(1), (300, 64), maxval=2 * jnp.pi)
ring = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)  # [steps, B, 2]
state = gan_jax.init(gan, jax.random.key(0), {"image": ring[0]})
step = gan_jax.jit_step(gan_jax.make_train_step(gan))
for points in ring:
    state, metrics = step(state, {"image": points})

samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(2), (1000, 4)))
radius, centre = jnp.linalg.norm(samples, axis=-1), samples.mean(axis=0)
print(f"radius {radius.mean():.2f} +- {radius.std():.2f}, centre {centre}")
assert jnp.abs(radius - 1).mean() < 0.2
assert jnp.abs(centre).max() < 0.3
