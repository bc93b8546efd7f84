"""Adversarial steps of three public models, written out plainly in JAX: what `test_published_steps` compares with.

Each is written from the description of the model, with networks of a few hundred parameters, and uses nothing of
`gan_jax`. It takes `Players` and returns the new ones, the losses, and the gradients of both players.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

B = 4


class Players(NamedTuple):
    """Parameters and optimizer states of both players, the generator's moving average, the means of LeCam."""

    generator: dict
    discriminator: dict
    of_generator: optax.OptState
    of_discriminator: optax.OptState
    ema: dict
    means: tuple = (0.0, 0.0)


def layers(seed, **sizes):
    """Returns `{name: {"kernel", "bias"}}` for `name=(inputs, outputs)`."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape) / np.sqrt(shape[0]), jnp.float32)  # noqa: E731
    return {name: {"kernel": draw(*size), "bias": 0.1 * draw(size[1])} for name, size in sizes.items()}


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def flat(x):
    return x.reshape(len(x), -1)


def start(generator, discriminator, tx):
    return Players(generator, discriminator, tx.init(generator), tx.init(discriminator), generator)


def moved(tx, params, opt_state, grads):
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def averaged(ema, params, decay):
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, ema, params)


def quantize(codebook, z):
    """Returns the nearest code of each vector of z, `[..., C]`."""
    distance = jnp.sum((z[..., None, :] - codebook) ** 2, axis=-1)
    return codebook[jnp.argmin(distance, axis=-1)]


def straight_through(z, code):
    return z + jax.lax.stop_gradient(code - z)


def quantizer_loss(z, code, beta=0.25):
    """Codebook loss plus `beta` times the commitment loss: van den Oord et al., 2017."""
    stop = jax.lax.stop_gradient
    return jnp.mean((stop(z) - code) ** 2) + beta * jnp.mean((z - stop(code)) ** 2)


# -- MAGVIT's VQGAN: google-research/magvit, Yu et al., 2023


IMAGE = (4, 4, 1)
TOKENS, CHANNELS = 2, 3


def tokenizer_params():
    params = layers(0, encode=(16, TOKENS * CHANNELS), decode=(TOKENS * CHANNELS, 16))
    return {**params, "codebook": layers(1, codes=(8, CHANNELS))["codes"]["kernel"] * 2}


def tokenize(params, image):
    """Returns `(image, z, code)`."""
    z = jnp.tanh(dense(params["encode"], flat(image))).reshape(-1, TOKENS, CHANNELS)
    code = quantize(params["codebook"], z)
    made = jnp.tanh(dense(params["decode"], flat(straight_through(z, code))))
    return made.reshape(-1, *IMAGE), z, code


def critic_params():
    return layers(2, hidden=(16, 8), out=(8, 1))


def criticise(params, image):
    return dense(params["out"], jnp.tanh(dense(params["hidden"], flat(image))))[:, 0]


def embedding(frozen, image):
    """Returns the output of a classifier that is not trained, `[B, 5]`."""
    return dense(frozen["out"], jnp.tanh(dense(frozen["hidden"], flat(image))))


def classifier_params():
    return layers(3, hidden=(16, 6), out=(6, 5))


MEANS, EMA = 0.9, 0.99  # decay of LeCam's means and of the moving average (0.999 there)


def magvit(tx, players, image, frozen):
    """One vjp of both players' losses, pulled back once for each player. All of it sees the old parameters."""

    def losses(params_d, params_g):
        made, z, code = tokenize(params_g, image)
        on_real, on_fake = criticise(params_d, image), criticise(params_d, made)
        slope = jax.grad(lambda x: jnp.sum(criticise(params_d, x)))(image)
        r1 = 10 * jnp.mean(jnp.sum(flat(slope) ** 2, axis=1))  # the cost 10 has no factor of 1/2
        real, fake = jnp.mean(on_real), jnp.mean(on_fake)
        mean_real, mean_fake = players.means
        lecam = jnp.maximum(real - mean_fake, 0) ** 2 + jnp.maximum(mean_real - fake, 0) ** 2
        cross_entropy = jnp.mean(jnp.logaddexp(0, -on_real)) + jnp.mean(jnp.logaddexp(0, on_fake))
        adversarial = jnp.mean(jnp.logaddexp(0, -on_fake))
        l2 = jnp.mean((image - made) ** 2)
        perceptual = jnp.mean((embedding(frozen, image) - embedding(frozen, made)) ** 2)
        of_d = cross_entropy + r1 + 0.3 * lecam
        of_g = l2 + 0.1 * adversarial + 0.1 * perceptual + quantizer_loss(z, code)
        parts = {"d": cross_entropy, "g": adversarial, "r1": r1 / 20, "lecam": lecam, "l2": l2}
        return (of_d, of_g), (real, fake, {**parts, "perceptual": perceptual})

    both = (players.discriminator, players.generator)
    _, pullback, (real, fake, parts) = jax.vjp(losses, *both, has_aux=True)
    (by_d, _), (_, by_g) = pullback((1.0, 0.0)), pullback((0.0, 1.0))
    discriminator, of_d = moved(tx, players.discriminator, players.of_discriminator, by_d)
    generator, of_g = moved(tx, players.generator, players.of_generator, by_g)
    means = tuple(MEANS * old + (1 - MEANS) * new for old, new in zip(players.means, (real, fake), strict=True))
    ema = averaged(players.ema, generator, EMA)
    return Players(generator, discriminator, of_g, of_d, ema, means), parts, (by_g, by_d)


# -- DAC: Kumar et al., 2023, as DBraun/DAC-JAX trains it


WAVE = (16, 1)
PERIODS = (2, 4)


def codec_params():
    return {**tokenizer_params()}


def code_wave(params, wave):
    """Returns `(wave, z, code)`."""
    made, z, code = tokenize(params, wave)
    return made.reshape(-1, *WAVE), z, code


def period_params():
    return {f"member_{i}": layers(4 + i, one=(p, 4), two=(4, 3), out=(3, 1)) for i, p in enumerate(PERIODS)}


def feature_maps(params, wave, period):
    """Returns the maps of one discriminator, a list; the last one is its logit, `[B, T / period, 1]`."""
    maps = [wave.reshape(len(wave), -1, period)]
    maps.append(jnp.tanh(dense(params["one"], maps[-1])))
    maps.append(jnp.tanh(dense(params["two"], maps[-1])))
    return [*maps[1:], dense(params["out"], maps[-1])]


def spectrograms(wave):
    """Returns magnitudes and their logarithms, for windows of two lengths: `[B, T / n, n / 2]` each."""
    found = []
    for n in (4, 8):
        angles = 2 * np.pi * np.outer(np.arange(n) + 0.5, np.arange(1, n // 2 + 1)) / n
        frames = wave.reshape(len(wave), -1, n)
        power = (frames @ np.cos(angles).astype("f4")) ** 2 + (frames @ np.sin(angles).astype("f4")) ** 2
        magnitude = jnp.sqrt(power + 1e-6)
        found += [magnitude, 2 * jnp.log10(jnp.maximum(magnitude, 1e-2))]
    return found


def dac(tx, players, wave, *, fresh):
    """The generator's update against the old discriminators, and then theirs.

    `fresh`: they see waves that the new generator makes, where DAC-JAX keeps those of the generator's own update.
    """
    members = [(f"member_{i}", period) for i, period in enumerate(PERIODS)]

    def all_maps(params, wave):
        return [feature_maps(params[name], wave, period) for name, period in members]

    def of_generator(params):
        made, z, code = code_wave(params, wave)
        real, fake = all_maps(players.discriminator, wave), all_maps(players.discriminator, made)
        adversarial = sum(jnp.mean((1 - maps[-1]) ** 2) for maps in fake)
        pairs = [pair for one, two in zip(real, fake) for pair in zip(one[:-1], two[:-1])]
        features = sum(jnp.mean(jnp.abs(one - two)) for one, two in pairs)
        mel = sum(jnp.mean(jnp.abs(a - b)) for a, b in zip(spectrograms(wave), spectrograms(made)))
        parts = {"g": adversarial / 2, "feature_matching": features, "mel": mel}
        return 15 * mel + 2 * features + adversarial + quantizer_loss(z, code), (made, parts)

    by_g, (made, parts) = jax.grad(of_generator, has_aux=True)(players.generator)
    generator, of_g = moved(tx, players.generator, players.of_generator, by_g)
    made = code_wave(generator, wave)[0] if fresh else made

    def of_discriminator(params):
        real, fake = all_maps(params, wave), all_maps(params, made)
        return sum(jnp.mean(f[-1] ** 2) + jnp.mean((1 - r[-1]) ** 2) for r, f in zip(real, fake))

    loss, by_d = jax.value_and_grad(of_discriminator)(players.discriminator)
    discriminator, of_d = moved(tx, players.discriminator, players.of_discriminator, by_d)
    ema = averaged(players.ema, generator, EMA)
    return Players(generator, discriminator, of_g, of_d, ema), parts | {"d": loss / 2}, (by_g, by_d)


# -- RAE, the decoder: Zheng et al., "Diffusion transformers with representation autoencoders", 2025


def rae_frozen():
    """Returns three networks that are not trained: the encoder, the features of D, and those of LPIPS."""
    return {
        "encoder": layers(6, hidden=(16, 6), out=(6, 4)),
        "dino": layers(7, one=(16, 6), two=(6, 5)),
        "lpips": layers(8, one=(1, 3), two=(3, 4)),
    }


def decoder_params():
    return layers(9, hidden=(4, 8), out=(8, 16))


def decode(params, frozen, image):
    z = jax.lax.stop_gradient(dense(frozen["out"], jnp.tanh(dense(frozen["hidden"], flat(image)))))
    return dense(params["out"], jnp.tanh(dense(params["hidden"], z))).reshape(-1, *IMAGE)


def heads_params():
    return layers(10, one=(6, 1), two=(5, 1))


def on_features(params, frozen, image):
    """Returns one logit of each head on two layers of a frozen network, `[B, 2]`."""
    first = jnp.tanh(dense(frozen["one"], flat(image)))
    second = jnp.tanh(dense(frozen["two"], first))
    return jnp.concatenate([dense(params["one"], first), dense(params["two"], second)], axis=1)


def lpips_maps(frozen, image):
    """Returns the maps of two layers, `[B, 4, 4, C]`."""
    first = jnp.tanh(dense(frozen["one"], image))
    return [first, jnp.tanh(dense(frozen["two"], first))]


LPIPS_WEIGHTS = ((0.5, 0.2, 0.9), (0.3, 0.1, 0.7, 0.4))  # one for each channel


def lpips(frozen, one, other):
    total = 0.0
    for weights, a, b in zip(LPIPS_WEIGHTS, lpips_maps(frozen, one), lpips_maps(frozen, other)):
        unit = lambda x: x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-10)  # noqa: E731
        total += jnp.mean(jnp.sum(jnp.asarray(weights) * (unit(a) - unit(b)) ** 2, axis=-1))
    return total


def rae(tx, players, image, frozen, *, train_d, use_gan, cap=1e4):
    """The decoder's update against the old discriminator, then the discriminator's on new reconstructions.

    `train_d` and `use_gan` say whether the discriminator, and its loss in the decoder's update, have begun.
    """

    def terms(params):
        made = decode(params, frozen["encoder"], image)
        l1 = jnp.mean(jnp.abs(made - image)) / 2  # of images in [0, 1]
        distance = lpips(frozen["lpips"], image, made)
        return l1 + distance, {"l1": 2 * l1, "lpips": distance}

    def adversarial(params):
        made = decode(params, frozen["encoder"], image)
        return -jnp.mean(on_features(players.discriminator, frozen["dino"], made))

    (_, parts), by_terms = jax.value_and_grad(terms, has_aux=True)(players.generator)
    loss, by_adversarial = jax.value_and_grad(adversarial)(players.generator)
    last = [jnp.linalg.norm(grads["out"]["kernel"]) for grads in (by_terms, by_adversarial)]
    weight = 0.75 * jnp.minimum(last[0] / (last[1] + 1e-6), cap) if use_gan else 0.0
    by_g = jax.tree.map(lambda a, b: a + weight * b, by_terms, by_adversarial)
    generator, of_g = moved(tx, players.generator, players.of_generator, by_g)
    parts |= {"weight": weight, "g": loss if use_gan else 0.0}
    players = players._replace(generator=generator, of_generator=of_g, ema=averaged(players.ema, generator, EMA))
    if not train_d:
        return players, parts | {"d": 0.0}, (by_g, None)
    made = decode(generator, frozen["encoder"], image)

    def hinge(params):
        real, fake = (on_features(params, frozen["dino"], x) for x in (image, made))
        return (jnp.mean(jnp.maximum(1 - real, 0)) + jnp.mean(jnp.maximum(1 + fake, 0))) / 2

    loss, by_d = jax.value_and_grad(hinge)(players.discriminator)
    discriminator, of_d = moved(tx, players.discriminator, players.of_discriminator, by_d)
    players = players._replace(discriminator=discriminator, of_discriminator=of_d)
    return players, parts | {"d": 2 * loss}, (by_g, by_d)
