"""R3GAN in PyTorch, with the layers of `gan_jax.models.r3gan`."""

import itertools

import jax.numpy as jnp
import torch
import torch.nn.functional as F
from torch import nn

from gan_jax.models import r3gan
from gan_jax.models.r3gan import SLOPE, TAPS

from ..cases import Case


class Block(nn.Module):
    """The residual block of `gan_jax.models.r3gan`."""

    def __init__(self, width: int, groups: int, expansion: int):
        super().__init__()
        hidden = width * expansion
        self.conv_1 = nn.Conv2d(width, hidden, 1)
        self.conv_2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups)
        self.conv_3 = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.leaky_relu(self.conv_1(x), SLOPE)
        return x + self.conv_3(F.leaky_relu(self.conv_2(h), SLOPE))


class Resample(nn.Module):
    """Doubles or halves the size with the filter `TAPS`: a depthwise convolution of stride 2 or its transpose."""

    taps: torch.Tensor

    def __init__(self, channels: int, up: bool):
        super().__init__()
        row = torch.tensor(TAPS, dtype=torch.float32) / sum(TAPS) * (2 if up else 1)
        self.register_buffer("taps", torch.outer(row, row).expand(channels, 1, -1, -1).clone(), persistent=False)
        self.up = up

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        resample = F.conv_transpose2d if self.up else F.conv2d
        return resample(x, self.taps, stride=2, padding=1, groups=x.shape[1])


class Player(nn.Module):
    """The parts that both networks of R3GAN share. Layers and parameters have the same names as in JAX."""

    def __init__(self, like: r3gan.Generator | r3gan.Discriminator, size: int):
        super().__init__()
        self.stages, self.blocks = like.stages((size, size)), like.blocks
        for stage in self.stages:
            for i in range(like.blocks):
                block = Block(stage.width, stage.groups, like.expansion)
                self.add_module(f"block_{stage.side}_{i}", block)

    def residual(self, x: torch.Tensor, stage: r3gan.Stage) -> torch.Tensor:
        for i in range(self.blocks):
            x = self.get_submodule(f"block_{stage.side}_{i}")(x)
        return x

    def widen(self, x: torch.Tensor, stage: r3gan.Stage) -> torch.Tensor:
        return self.get_submodule(f"to_{stage.side}")(x) if x.shape[1] != stage.width else x

    def resampled(self, x: torch.Tensor, stage: r3gan.Stage) -> torch.Tensor:
        return self.get_submodule(f"resample_{stage.side}")(x)

    def _add_transitions(self, up: bool) -> None:
        """Adds the layers that change width and resolution between two stages."""
        for low, high in itertools.pairwise(self.stages):
            start, end = (low, high) if up else (high, low)
            if start.width != end.width:
                self.add_module(f"to_{end.side}", nn.Conv2d(start.width, end.width, 1, bias=False))
            self.add_module(f"resample_{high.side}", Resample(high.width, up))


class Generator(Player):
    def __init__(self, like: r3gan.Generator, case: Case):
        super().__init__(like, case.shape[0])
        first, last = self.stages[0], self.stages[-1]
        self.style = nn.Linear(case.latent, first.width, bias=False)
        self.basis = nn.Parameter(torch.empty(first.width, first.side, first.side))
        self._add_transitions(up=True)
        self.image = nn.Conv2d(last.width, case.shape[2], 1, bias=False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        x = self.residual(self.basis * self.style(z)[:, :, None, None], self.stages[0])
        for stage in self.stages[1:]:
            x = self.residual(self.resampled(self.widen(x, stage), stage), stage)
        return self.image(x)


class Discriminator(Player):
    def __init__(self, like: r3gan.Discriminator, case: Case):
        super().__init__(like, case.shape[0])
        first, last = self.stages[0], self.stages[-1]
        self.image = nn.Conv2d(case.shape[2], last.width, 1, bias=False)
        self._add_transitions(up=False)
        self.pool = nn.Parameter(torch.empty(first.width, first.side, first.side))
        self.logit = nn.Linear(first.width, 1, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.image(image)
        for below, stage in reversed(list(itertools.pairwise(self.stages))):
            x = self.widen(self.resampled(self.residual(x, stage), stage), below)
        x = self.residual(x, self.stages[0])
        return self.logit((x * self.pool).sum((2, 3))).flatten()


def make(case: Case) -> tuple[nn.Module, nn.Module]:
    """Builds both networks of the case. Under autocast even their lowest resolution runs in bfloat16."""
    generator, discriminator = case.networks(jnp.float32)
    return Generator(generator, case), Discriminator(discriminator, case)
