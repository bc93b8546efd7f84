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


adam, penalty = gan_jax.optimizers.adam(1e-3), gan_jax.Term(0.1, gan_jax.penalties.r1_r2())
generator, discriminator = perceptron(64, 64, 2), perceptron(64, 64, 1)
loss, latent = gan_jax.losses.relativistic(), gan_jax.latents.normal(4)
gan = gan_jax.GAN(generator, discriminator, loss, adam, adam, latent, discriminator_terms=(penalty,))
data = jax.random.normal(jax.random.key(1), (300, 128, 2)) @ jnp.array([[1.0, 0.8], [0.0, 0.6]])  # correlated
state = gan_jax.init(gan, jax.random.key(0), {"image": data[0]})
step = gan_jax.jit_step(gan_jax.make_train_step(gan))
for points in data:
    state, metrics = step(state, {"image": points})

samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(2), (1000, 4)))
correlation = jnp.corrcoef(samples.T)[0, 1]
print(f"mean {samples.mean(0)} for [0, 0], correlation {correlation:.2f} for 0.8")
assert jnp.abs(samples.mean(0)).max() < 0.3
assert 0.6 < correlation < 0.95
