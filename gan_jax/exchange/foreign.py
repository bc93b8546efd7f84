"""Imports weights that other people's PyTorch code trained into a workdir of ours."""

import dataclasses
import importlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import config as configs
from ..config import Call, Config, Data, Sample
from ..config.build import SampleSpec, make_gan
from ..errors import UserError, one_line
from ..gan import GAN
from ..pytree import named_leaves
from ..train.shapes import carry_shapes
from .foreign_file import read_foreign
from .layout_changes import CHANGES
from .new_workdir import write_workdir

KINDS = {
    "r3gan": "ffhq64_r3gan", "sngan": "cifar10_sngan", "biggan": "cifar10_biggan",
    "stylegan2": "cifar10_stylegan2_ada",
}  # fmt: skip
"""The architectures, and the recipe whose settings of training the imported run gets."""

_MOST_NAMES = 4  # in a line
_MEAN_OF = 4096  # latents, for the mean of w

Arrays = dict[str, np.ndarray]


class _Found(NamedTuple):
    """A network in a file: its arrays by the names that the layout gives them, and what they describe."""

    layout: Any  # a `Layout` and a `Network` of `gan_jax.models.published.tables`
    network: Any
    prefix: str
    arrays: Arrays
    file: str


def import_foreign(
    file: Path,
    kind: str,
    workdir: Path,
    overrides: Iterable[str] = (),
    *,
    discriminator: Path | None = None,
) -> list[str]:
    """Writes a workdir with the networks of a file of PyTorch weights, and returns lines that say what was taken.

    The config has what the shapes in the file say: resolution, channels, classes, number of latents. Its other
    settings are those of a recipe of the architecture. Its data are a folder `images`: give `--data` to evaluate.
    The weights of the generator are the moving average if the file has it.

    Args:
        file: safetensors, .npz, or what `torch.save` wrote: a state dict, or dictionaries of them.
        kind: the architecture, a name in `KINDS`.
        workdir: must not exist, or be empty.
        overrides: `key=value` for the config.
        discriminator: a file with the discriminator, where it is not in `file`. Without one the run has a new
            discriminator.

    Raises:
        UserError: a file is damaged, or has another architecture or layout; arrays are missing or don't fit; our
            network can't compute the same; the workdir has something in it.
    """
    if kind not in KINDS:
        raise UserError(f"--as {one_line(kind)}: it is one of {', '.join(KINDS)}")
    arrays = read_foreign(file)
    generator = _find(arrays, kind, "GENERATORS", file)
    if generator is None:
        raise UserError(_no_generator(arrays, kind, file))
    elsewhere = arrays if discriminator is None else read_foreign(discriminator)
    critic = _find(elsewhere, kind, "DISCRIMINATORS", discriminator or file, generator.layout.source)
    if critic is None and discriminator is not None:
        raise UserError(f"{one_line(discriminator)} has no discriminator of {kind} by {generator.layout.source}")
    if critic is not None and critic.network.classes != generator.network.classes:
        counts = [found.network.classes or "no" for found in (generator, critic)]
        raise UserError(f"{one_line(file)}: the generator has {counts[0]} classes, the discriminator {counts[1]}")
    config = configs.override(_config(kind, file, generator, critic), overrides, allow=())
    configs.validate(config)
    spec = SampleSpec(generator.network.shape, "uint8", generator.network.classes)
    gan = make_gan(config, spec, ())
    shapes = carry_shapes(config, gan, spec).state
    lines, taken = [], []
    for found, variables in ((generator, shapes.ema), (critic, shapes.discriminator.variables)):
        taken.append(None if found is None else _take(found, named_leaves(variables), lines))
    if critic is None:
        lines.append("the discriminator is a new one: the file has none, or give it with --discriminator FILE")
    assert taken[0] is not None
    if "w_avg/mean" in named_leaves(shapes.ema) and "w_avg/mean" not in taken[0]:
        taken[0]["w_avg/mean"] = _mean_w(gan, taken[0], shapes.ema, generator.network.latents)
        lines.append(f"the mean of w, for truncation, is that of {_MEAN_OF} latents: the file has none")
    write_workdir(workdir, config, spec, taken[0], taken[1], str(file))
    return lines


def _layouts(kind: str, player: str) -> tuple[Any, ...]:
    # By its name, as a config finds an architecture: nothing outside of `models` imports one.
    return getattr(importlib.import_module(f"gan_jax.models.published.{kind}"), player)


def _find(arrays: Arrays, kind: str, player: str, file: Path, source: str | None = None) -> _Found | None:
    """Returns the network of an architecture in a file; None if no layout's names are there."""
    for layout in _layouts(kind, player):
        prefixes = _prefixes(arrays, layout.marks)
        if not prefixes or source not in (None, layout.source):
            continue
        prefix = min(prefixes, key=lambda text: ("ema" not in text.lower(), prefixes.index(text)))
        members = {name: arrays[name] for name in layout.beside if name in arrays}
        members |= {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
        try:
            tables = importlib.import_module("gan_jax.models.published.tables")
            network = layout.read(tables.Reading({name: array.shape for name, array in members.items()}))
        except (ValueError, IndexError) as error:
            text = str(error) if isinstance(error, ValueError) else "has arrays of another number of axes"
            raise UserError(f"{one_line(file)} {one_line(text)} (layout of {layout.source})") from None
        return _Found(layout, network, prefix, members, one_line(file))
    return None


def _prefixes(arrays: Iterable[str], marks: tuple[str, ...]) -> list[str]:
    """Returns the prefixes, such as `g_ema.module.`, with which all marks of a layout are there."""
    names = set(arrays)
    starts = [name.removesuffix(marks[0]) for name in arrays if name.endswith(marks[0])]
    return [
        start for start in starts if (not start or start[-1] == ".") and all(start + m in names for m in marks)
    ]


def _no_generator(arrays: Arrays, kind: str, file: Path) -> str:
    """Returns a sentence on what a file has in place of a generator of this kind."""
    for other in KINDS:
        for player, word in (("GENERATORS", "a generator"), ("DISCRIMINATORS", "a discriminator alone")):
            for layout in _layouts(other, player):
                if _prefixes(arrays, layout.marks):
                    advice = f"say --as {other}" if other != kind else "give the file of its generator"
                    return f"{one_line(file)} has {word} of {other} in the layout of {layout.source}: {advice}"
    known = " and ".join(dict.fromkeys(layout.source for layout in _layouts(kind, "GENERATORS")))
    some = ", ".join(list(arrays)[:_MOST_NAMES]) or "no arrays"
    return (
        f"{one_line(file)} has no generator of {kind} in a layout that is known ({known}): it has {one_line(some)}"
    )


def _config(kind: str, file: Path, generator: _Found, critic: _Found | None) -> Config:
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


def _take(found: _Found, variables: Mapping[str, Any], lines: list[str]) -> Arrays:
    """Returns the arrays of our network's variables, and says what is used and what is not.

    Raises:
        UserError: an array is missing, or has another shape.
    """
    taken: Arrays = {}
    used = set()
    for path in variables:
        if (origin := found.network.table.get(path)) is None:
            continue
        name, changes = origin
        if name not in found.arrays:
            if path == "w_avg/mean":
                continue
            raise UserError(f"{found.file} has no array {found.prefix}{name}, which {found.layout.source} writes")
        array = found.arrays[name]
        try:
            for change in changes:
                array = CHANGES[change](array, name, found.arrays)
        except (ValueError, KeyError, IndexError):
            shape = found.arrays[name].shape
            raise UserError(
                f"{found.file} has {found.prefix}{name} of shape {shape}, which {found.layout.source} doesn't have"
            ) from None
        taken[path] = np.ascontiguousarray(array, np.float32).reshape(array.shape)
        used.add(name)
    silent = [re.compile(pattern) for pattern in found.layout.unused]
    left = [name for name in found.arrays if name not in used and not any(p.fullmatch(name) for p in silent)]
    lines.append(f"{len(used)} arrays of {found.prefix or 'the file'} are taken (layout of {found.layout.source})")
    if left:
        more = f" and {len(left) - _MOST_NAMES} more" if len(left) > _MOST_NAMES else ""
        lines.append(f"not used: {one_line(', '.join(found.prefix + name for name in left[:_MOST_NAMES]))}{more}")
    return taken


def _mean_w(gan: GAN, taken: Arrays, shapes: Any, latents: int) -> np.ndarray:
    """Returns the mean of w over random latents, for a generator with a mapping network."""
    zeros = {name: np.zeros(leaf.shape, np.float32) for name, leaf in named_leaves(shapes).items()}
    leaves = [jnp.asarray({**zeros, **taken}[name]) for name in zeros]
    variables = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    z = jax.random.normal(jax.random.key(0), (_MEAN_OF, latents), jnp.float32)
    w = jax.jit(lambda v, z: gan.generator.apply(v, z, train=False, method="mapping")[:, 0].mean(axis=0))
    return np.asarray(w(variables, z))
