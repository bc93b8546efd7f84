"""Imports weights that other people's PyTorch code trained into a workdir of ours."""

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import config as configs
from ..config import Call, Config, Data, Sample
from ..config.build import SampleSpec, batch_spec, make_gan
from ..errors import UserError, one_line
from ..gan import GAN, init
from ..pytree import named_leaves
from ..train.shapes import state_shapes
from .foreign_file import read_foreign
from .foreign_layouts import KINDS, Arrays, Found, find, search, take
from .new_workdir import write_workdir

_MEAN_OF = 4096  # latents, for the mean of w


def import_foreign(
    file: Path,
    kind: str,
    workdir: Path,
    overrides: Iterable[str] = (),
    *,
    discriminator: Path | None = None,
) -> list[str]:
    """Writes a workdir with the networks of a file of PyTorch weights, and returns lines that say what was taken.

    See `read_networks` for the arguments and the errors; `workdir` must not exist, or be empty.
    """
    read = read_networks(file, kind, overrides, discriminator=discriminator)
    write_workdir(workdir, read.config, read.spec, read.generator, read.discriminator, str(file))
    shape, classes = " x ".join(map(str, read.spec.shape)), read.spec.classes
    labels = "without labels" if classes is None else f"{classes} classes"
    latents = read.config.latent.kwargs["size"]
    return [*read.lines, f"{workdir}: {kind}, samples of {shape}, {labels}, {latents} latents"]


class Networks(NamedTuple):
    """What a file of weights holds, as ours.

    Attributes:
        config, spec: of a run with these networks.
        generator, discriminator: variables by their paths; None: the file has no discriminator.
        lines: what was taken and what was not.
    """

    config: Config
    spec: SampleSpec
    generator: Arrays
    discriminator: Arrays | None
    lines: list[str]


def read_networks(
    file: Path, kind: str, overrides: Iterable[str] = (), *, discriminator: Path | None = None
) -> Networks:
    """Returns the networks of a file of PyTorch weights.

    The config has what the shapes in the file say: resolution, channels, classes, number of latents. Its other
    settings are those of a recipe of the architecture. Its data are a folder `images`: give `--data` to evaluate.
    The weights of the generator are the moving average if the file has it.

    Args:
        file: safetensors, .npz, or what `torch.save` wrote: a state dict, or dictionaries of them.
        kind: the architecture, a name in `KINDS`.
        overrides: `key=value` for the config.
        discriminator: a file with the discriminator, where it is not in `file`.

    Raises:
        UserError: a file is damaged, or has another architecture or layout; arrays are missing or don't fit; our
            network can't compute the same.
    """
    if kind not in KINDS:
        raise UserError(f"--as {one_line(kind)}: it is one of {', '.join(KINDS)}")
    found = find(read_foreign(file), kind, file)
    critic = _find_critic(found, kind, file, discriminator)
    config = configs.override(_config(kind, file, found, critic), overrides, allow=())
    configs.validate(config)
    spec = SampleSpec(found.network.shape, "uint8", found.network.classes)
    gan = make_gan(config, spec, ())
    batch = batch_spec(config, gan, spec)
    shapes = state_shapes(config, lambda key: init(gan, key, batch))
    lines: list[str] = []
    generator = take(found, named_leaves(shapes.ema), lines)
    if "w_avg/mean" in named_leaves(shapes.ema) and "w_avg/mean" not in generator:
        generator["w_avg/mean"] = _mean_w(gan, generator, shapes.ema, found.network.latents)
        lines.append(f"the mean of w, for truncation, is that of {_MEAN_OF} latents: the file has none")
    if critic is None:
        lines.append("the discriminator is a new one: the file has none, or give it with --discriminator FILE")
        return Networks(config, spec, generator, None, lines)
    taken = take(critic, named_leaves(shapes.discriminator.variables), lines)
    return Networks(config, spec, generator, taken, lines)


def _find_critic(generator: Found, kind: str, file: Path, other: Path | None) -> Found | None:
    """Returns the discriminator that belongs to the generator, from the same file or from another one."""
    if other is None:
        critic = search(generator.everything, kind, "DISCRIMINATORS", file, generator.layout.source)
    else:
        critic = search(read_foreign(other), kind, "DISCRIMINATORS", other, generator.layout.source)
        if critic is None:
            source = generator.layout.source
            raise UserError(f"{one_line(other)} has no discriminator of {kind} in the layout of {source}")
    if critic is not None and critic.network.classes != generator.network.classes:
        counts = [found.network.classes or "no" for found in (generator, critic)]
        raise UserError(
            f"{critic.file}: the discriminator has {counts[1]} classes, but the generator has {counts[0]}"
        )
    return critic


def _config(kind: str, file: Path, generator: Found, critic: Found | None) -> Config:
    """Returns the config that the shapes say, with the other settings of a recipe."""
    network = generator.network
    height, width, channels = network.shape
    kept = {"channels": channels} if channels in (1, 3) else {}
    size = height if height == width else (height, width)
    source = Call("folder", path="images", labels=network.classes is not None, size=size, **kept)
    against = (network.opposite or {}) if critic is None else critic.network.keywords
    return dataclasses.replace(
        configs.load(KINDS[kind]),
        name=re.sub(r"[^\w.-]+", "_", file.stem)[:64].strip(".") or kind,
        steps=0,
        data=Data(source=source),
        conditional=network.classes is not None,
        generator=Call(kind, **network.keywords),
        discriminator=Call(kind, **against),
        latent=Call("normal", size=network.latents),
        precision="float32",
        sample=Sample(),
    )


def _mean_w(gan: GAN, taken: Arrays, shapes: Any, latents: int) -> np.ndarray:
    """Returns the mean of w over random latents, for a generator with a mapping network."""
    zeros = {name: np.zeros(leaf.shape, np.float32) for name, leaf in named_leaves(shapes).items()}
    leaves = [jnp.asarray({**zeros, **taken}[name]) for name in zeros]
    variables = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    z = jax.random.normal(jax.random.key(0), (_MEAN_OF, latents), jnp.float32)
    w = jax.jit(lambda v, z: gan.generator.apply(v, z, train=False, method="mapping")[:, 0].mean(axis=0))
    return np.asarray(w(variables, z))
