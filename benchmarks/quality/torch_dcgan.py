"""The baseline of the comparison: the DCGAN of PyTorch's tutorial, at 28 x 28 pixels.

It uses batches of 128, Adam at 2e-4 with b1 = 0.5 for both networks, N(0, 0.02) weights, 100 latents, width 64,
and binary cross-entropy. The discriminator is updated on reals and fakes, then the generator on the same fakes.
All images are read at once through gan_jax's data source, as in the runs of the other models.

    python -m benchmarks.quality.torch_dcgan WORKDIR --seconds 480 --seed 0
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gan_jax.config import load
from gan_jax.config.build import make_source
from gan_jax.data.loader import read_all
from gan_jax.runtime.startup_timings import process_age

_LATENT, _WIDTH, _BATCH, _RATE = 100, 64, 128, 2e-4


def players() -> tuple[nn.Module, nn.Module]:
    """Returns G, from `[B, 100, 1, 1]` to `[B, 1, 28, 28]` in [-1, 1], and D, from those to logits `[B]`."""
    wide = 2 * _WIDTH
    generator = nn.Sequential(
        nn.ConvTranspose2d(_LATENT, wide, 7, 1, 0, bias=False), nn.BatchNorm2d(wide), nn.ReLU(True),
        nn.ConvTranspose2d(wide, _WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(_WIDTH), nn.ReLU(True),
        nn.ConvTranspose2d(_WIDTH, 1, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(1, _WIDTH, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True),
        nn.Conv2d(_WIDTH, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2, True),
        nn.Conv2d(wide, 1, 7, 1, 0, bias=False), nn.Flatten(0),
    )  # fmt: skip
    for module in [*generator, *discriminator]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return generator, discriminator


def train(images: torch.Tensor, seconds: float) -> tuple[nn.Module, int]:
    """Trains until this process is `seconds` old; returns the generator and the number of steps."""
    generator, discriminator = players()
    networks = (generator, discriminator)
    g_optimizer, d_optimizer = (torch.optim.Adam(n.parameters(), _RATE, betas=(0.5, 0.999)) for n in networks)
    criterion = nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(_BATCH), torch.zeros(_BATCH)
    steps = 0
    for _ in itertools.count():
        order = torch.randperm(len(images))
        for start in range(0, len(images) - _BATCH + 1, _BATCH):
            if process_age() > seconds:
                return generator, steps
            real = images[order[start : start + _BATCH]]
            fake = generator(torch.randn(_BATCH, _LATENT, 1, 1))
            d_optimizer.zero_grad()
            (criterion(discriminator(real), ones) + criterion(discriminator(fake.detach()), zeros)).backward()
            d_optimizer.step()
            g_optimizer.zero_grad()
            criterion(discriminator(fake), ones).backward()
            g_optimizer.step()
            steps += 1
    raise AssertionError("unreachable: there is always another epoch")


@torch.no_grad()
def sample(generator: nn.Module, count: int) -> np.ndarray:
    """Returns uint8 samples `[count, 28, 28, 1]`, with batch norm's running statistics."""
    generator.eval()
    parts = [generator(torch.randn(500, _LATENT, 1, 1)) for _ in range(-(-count // 500))]
    values = torch.cat(parts)[:count].numpy().transpose(0, 2, 3, 1)
    return np.rint(np.clip((values + 1) * 127.5, 0, 255)).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--config", default="configs/fashion_mnist_dcgan.py", help="a config with the data")
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000, help="number of samples to store at the end")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    pixels = read_all(make_source(load(arguments.config)))["image"]
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 127.5 - 1
    generator, steps = train(images, arguments.seconds)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    images_out = sample(generator, arguments.count)
    np.savez(arguments.workdir / "samples.npz", image=images_out)
    (arguments.workdir / "steps.json").write_text(json.dumps({"steps": steps, "batch": _BATCH}))


if __name__ == "__main__":
    main()
