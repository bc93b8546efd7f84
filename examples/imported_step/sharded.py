"""Four devices by sharded jit, with the parameters and the optimizer's state cut over them.

The batch is the global one; the step is the same as on one device, and so are its numbers.
"""

import jax
import jax.numpy as jnp

import gan_jax
from gan_jax.models import mlp

jax.config.update("jax_num_cpu_devices", 4)
gan = gan_jax.GAN(
    generator=mlp.Generator(shape=(8, 8, 1), width=128),
    discriminator=mlp.Discriminator(width=128),
    loss=gan_jax.losses.hinge(),
    generator_tx=gan_jax.optimizers.sgd(0.05),
    discriminator_tx=gan_jax.optimizers.sgd(0.05),
    latent=gan_jax.latents.normal(32),
)
images = jax.random.uniform(jax.random.key(1), (100, 32, 8, 8, 1), minval=-1.0)
key, step = jax.random.key(0), gan_jax.fuse_steps(gan_jax.make_train_step(gan), 100)
one, _ = gan_jax.jit_step(step)(gan_jax.init(gan, key, {"image": images[0]}), {"image": images})

mesh = gan_jax.make_mesh()  # all devices
start = gan_jax.init(gan, key, {"image": images[0]})
places = gan_jax.state_shardings(start, mesh)
four, _ = gan_jax.shard_step(step, mesh, places)(jax.device_put(start, places), {"image": images})

kernel = four.generator.params["dense_1"]["kernel"]
share = kernel.addressable_shards[0].data.size / kernel.size
gaps = jax.tree.map(lambda a, b: jnp.abs(jax.device_get(a) - jax.device_get(b)).max(), one.ema, four.ema)
print(f"a device holds {share:.0%} of a kernel; four devices differ from one by {max(jax.tree.leaves(gaps)):.0e}")
assert share == 0.25
assert max(jax.tree.leaves(gaps)) < 1e-4
