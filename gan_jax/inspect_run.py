"""What can be asked of a run afterwards: samples and digests, from its workdir alone."""

import os
from pathlib import Path

import jax
import numpy as np

from . import precision, report
from .carry import carry_shapes
from .checkpoint import Checkpoints
from .config import Config
from .digest import leaf_digests, state_digest
from .errors import UserError
from .gan import GAN
from .recipe import Allow, SampleSpec, make_gan
from .sampling import Sampler
from .state import GANState
from .workdir import read_config


def _open(workdir: Path, step: int | None, allow: Allow) -> tuple[Config, SampleSpec, GAN, int, GANState]:
    """A run's config, game and state. Names in its files resolve inside gan_jax, and in what is allowed."""
    config = read_config(workdir)
    with Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep) as checkpoints:
        steps = checkpoints.steps()
        if not steps:
            raise UserError(f"{workdir} holds no checkpoint yet: train it first")
        spec = _sample_spec(checkpoints, steps)
        gan = make_gan(config, spec, allow)
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=device), carry_shapes(config, gan, spec)
        )
        restored = checkpoints.restore(target, step)
    if restored is None:
        raise UserError(f"{workdir} holds no checkpoint yet: train it first")
    return config, spec, gan, restored.step, restored.state.state


def _sample_spec(checkpoints: Checkpoints, steps: list[int]) -> SampleSpec:
    """What the samples of a run are, from the newest manifest that can be read; the last error if none can."""
    while True:
        try:
            known = checkpoints.manifest(steps.pop())["record"]["sample"]
            return SampleSpec(tuple(known["shape"]), known["dtype"], known["classes"])
        except UserError:
            if not steps:
                raise


def digest(workdir: str | os.PathLike, *, step: int | None = None, allow: Allow = ()) -> str:
    """The digest of a run's state, recomputed from what is on disk; training prints the same at its end.

    Raises:
        UserError: there is no run, no such checkpoint, or none that verifies.
    """
    return state_digest(leaf_digests(_open(Path(workdir), step, allow)[-1]))


def sample(
    workdir: str | os.PathLike,
    *,
    count: int = 64,
    seed: int = 0,
    step: int | None = None,
    truncation: float = 1.0,
    out: str | os.PathLike | None = None,
    allow: Allow = (),
) -> list[Path]:
    """Write `count` samples of a run's averaged generator: one grid, or single images in a folder.

    Args:
        workdir: the run's.
        count: how many.
        seed: of the latents.
        step: which checkpoint; None: the newest good one.
        truncation: 1.0 for none; only for generators that define it.
        out: a path ending in .png for a grid (default: `<workdir>/samples_<step>.png`), .npz for the samples
            as an array `image` (uint8 images as the data's, or float32 vectors), else a folder for
            `00000.png`, `00001.png`, ...

    Raises:
        UserError: there is no run, no such checkpoint, or the generator defines no truncation.
    """
    workdir = Path(workdir)
    if count < 1:
        raise UserError(f"--count must be at least 1, got {count}")
    config, spec, gan, step, state = _open(workdir, step, allow)
    sampler = Sampler(
        gan, seed, spec.classes if config.conditional else None, truncation,
        precision=precision.asked(config, jax.default_backend()),
    )  # fmt: skip
    values = sampler(state.ema, count)
    path = Path(out) if out is not None else workdir / f"samples_{step:08d}.png"
    if path.suffix not in (".png", ".npz") and (values.ndim != 4 or values.shape[-1] not in (1, 3, 4)):
        raise UserError(f"samples of shape {spec.shape} are no images: give --out a .png or .npz file")
    try:
        return _write(values, path, sampler.columns(count))
    except OSError as error:
        raise UserError(f"can't write to {path} ({error.strerror}): give another --out") from error


def _write(values: np.ndarray, path: Path, columns: int | None) -> list[Path]:
    if path.suffix == ".png":
        report.save_png(path, report.picture(values, columns=columns))
        return [path]
    if path.suffix == ".npz":
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, image=report.to_uint8(values) if values.ndim == 4 else values)
        return [path]
    paths = [path / f"{i:05d}.png" for i in range(len(values))]
    for one, image in zip(paths, report.to_uint8(values)):
        report.save_png(one, image[..., 0] if image.shape[-1] == 1 else image)
    return paths
