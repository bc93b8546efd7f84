"""A training step in PyTorch in three variants: its DCGAN example, its tuning guide, and torch.compile."""

import contextlib
import dataclasses
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from gan_jax.types import PyTree

from ..cases import Case
from . import torch_networks

Variant = Literal["torch_eager", "torch_tuned", "torch_compile"]
VARIANTS: tuple[Variant, ...] = ("torch_eager", "torch_tuned", "torch_compile")


@dataclasses.dataclass
class Peer:
    """A case in PyTorch.

    Attributes:
        tuned: True: channels last, fused Adam, the discriminator frozen in the generator's update, losses left on
            the device. False: the loop of PyTorch's DCGAN example, which reads its losses in every step.
        half: whether autocast runs the networks in bfloat16.
        dtype: dtype of images and losses.
        penalised: the discriminator in the pass with a gradient penalty. It is the one without `torch.compile`,
            which has no second derivatives.
    """

    case: Case
    generator: torch.nn.Module
    discriminator: torch.nn.Module
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer]
    tuned: bool
    device: torch.device
    half: bool = False
    dtype: torch.dtype = torch.float32
    penalised: torch.nn.Module | None = None

    def place(self, images: np.ndarray) -> torch.Tensor:
        """Puts uint8 images `[B, H, W, C]` on the device as `[B, C, H, W]`."""
        layout = torch.channels_last if self.tuned else torch.contiguous_format
        return torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).contiguous(memory_format=layout)

    def latents(self) -> torch.Tensor:
        return torch.randn(self.case.batch, self.case.latent, device=self.device)

    def step(
        self, images: torch.Tensor, latents: torch.Tensor | None = None
    ) -> tuple[torch.Tensor | float, torch.Tensor | float]:
        """Runs one step on a placed batch; returns the losses of D and G, as tensors if tuned, else as floats."""
        latents = self.latents() if latents is None else latents
        real = images.to(self.dtype) / 127.5 - 1
        generator_optimizer, discriminator_optimizer = self.optimizers
        discriminator_optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            fake = self.generator(latents)
        loss_d = self._discriminator_loss(real, fake.detach())
        discriminator_optimizer.step()
        generator_optimizer.zero_grad(set_to_none=True)
        if self.tuned:
            self.discriminator.requires_grad_(False)
        with self._autocast():
            fake_logits = self._logits(fake)
            if self.case.loss == "relativistic":
                with torch.no_grad():
                    real_logits = self._logits(real)
                loss_g = F.softplus(real_logits - fake_logits).mean()
            else:
                loss_g = F.softplus(-fake_logits).mean()
        loss_g.backward()
        generator_optimizer.step()
        if self.tuned:
            self.discriminator.requires_grad_(True)
            return loss_d, loss_g.detach()
        return loss_d.item(), loss_g.item()

    def _logits(self, images: torch.Tensor, discriminator: torch.nn.Module | None = None) -> torch.Tensor:
        logits = (discriminator or self.discriminator)(images)
        return logits.to(self.dtype)  # the loss must not be computed in 16 bits

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.half else contextlib.nullcontext()

    def _discriminator_loss(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Runs the backward pass of the discriminator's loss and returns the loss."""
        if self.case.gamma:
            return self._penalised_loss(real, fake)
        with self._autocast():
            real_loss = F.softplus(-self._logits(real)).mean()
        if not self.tuned:
            real_loss.backward()  # the example has one backward pass for each half
        with self._autocast():
            fake_loss = F.softplus(self._logits(fake)).mean()
        loss = real_loss + fake_loss
        (loss if self.tuned else fake_loss).backward()
        return loss.detach()

    def _penalised_loss(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Like `_discriminator_loss`, for the relativistic loss with R1 and R2."""
        real, fake = real.detach().requires_grad_(True), fake.detach().requires_grad_(True)
        with self._autocast():
            real_logits, fake_logits = (self._logits(images, self.penalised) for images in (real, fake))
        grads = torch.autograd.grad(real_logits.sum() + fake_logits.sum(), (real, fake), create_graph=True)
        penalty = sum(g.square().sum((1, 2, 3)).mean() for g in grads) / 2
        loss = F.softplus(fake_logits - real_logits).mean()
        (loss + self.case.gamma * penalty).backward()
        return loss.detach()

    def wait(self) -> None:
        """Waits until the device has finished all work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def make(
    case: Case,
    params: tuple[PyTree, PyTree],
    variant: Variant,
    *,
    device: str = "cpu",
    half: bool = False,
    sgd: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Peer:
    """Builds the case from JAX parameters. With `sgd`, both players use plain SGD at that rate instead of Adam."""
    where, tuned = torch.device(device), variant != "torch_eager"
    memory = torch.channels_last if tuned else torch.contiguous_format
    networks = [
        network.to(where, dtype).to(memory_format=memory).train()  # type: ignore[call-overload]
        for network in torch_networks.make(case, *params)
    ]

    def optimizer(network: torch.nn.Module) -> torch.optim.Optimizer:
        if sgd is not None:
            return torch.optim.SGD(network.parameters(), sgd)
        betas, rate = (case.b1, case.b2), case.learning_rate
        return torch.optim.Adam(network.parameters(), rate, betas=betas, fused=True if tuned else None)

    optimizers = optimizer(networks[0]), optimizer(networks[1])
    if where.type == "cuda":  # as JAX does: choose kernels by timing them, use TF32 products
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    compiled: list[Any] = networks
    if variant == "torch_compile":
        # Over its limit of recompilations, which counts all networks of a process, it would silently run eagerly.
        torch._dynamo.reset()
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        compiled = [torch.compile(network, dynamic=False) for network in networks]
    return Peer(case, compiled[0], compiled[1], optimizers, tuned, where, half, dtype, networks[1])
