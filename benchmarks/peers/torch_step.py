"""One training step in PyTorch: as its DCGAN example has it, as its tuning guide would, and compiled."""

import contextlib
import dataclasses
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from ..cases import Case
from . import torch_networks

Variant = Literal["torch_eager", "torch_tuned", "torch_compile"]
VARIANTS: tuple[Variant, ...] = ("torch_eager", "torch_tuned", "torch_compile")


@dataclasses.dataclass
class Peer:
    """A game in PyTorch.

    tuned: channels last, fused Adam, gradients set to None, the discriminator frozen in the generator's turn, no
    loss read on the way, and where `half`, bfloat16 by autocast. Otherwise: the loop of PyTorch's DCGAN example,
    which reads its losses each step.
    """

    case: Case
    generator: torch.nn.Module
    discriminator: torch.nn.Module
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer]
    tuned: bool
    device: torch.device
    half: bool = False
    dtype: torch.dtype = torch.float32

    def place(self, images: np.ndarray) -> torch.Tensor:
        """A batch of uint8 `[B, H, W, C]` on the device."""
        layout = torch.channels_last if self.tuned else torch.contiguous_format
        return torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).contiguous(memory_format=layout)

    def latents(self) -> torch.Tensor:
        return torch.randn(self.case.batch, self.case.latent, device=self.device)

    def step(self, images: torch.Tensor, latents: torch.Tensor | None = None) -> Any:
        """One step on a placed batch: the losses, as tensors where tuned, else as floats."""
        latents = self.latents() if latents is None else latents
        real = images.to(self.dtype) / 127.5 - 1
        by_generator, by_discriminator = self.optimizers
        by_discriminator.zero_grad(set_to_none=True)
        with self._autocast():
            fake = self.generator(latents)
        loss_d = self._discriminator_loss(real, fake.detach())
        by_discriminator.step()
        by_generator.zero_grad(set_to_none=True)
        if self.tuned:
            self.discriminator.requires_grad_(False)
        with self._autocast():
            on_fake = self._logits(fake)
            if self.case.loss == "relativistic":
                with torch.no_grad():
                    on_real = self._logits(real)
                loss_g = F.softplus(on_real - on_fake).mean()
            else:
                loss_g = F.softplus(-on_fake).mean()
        loss_g.backward()
        by_generator.step()
        if self.tuned:
            self.discriminator.requires_grad_(True)
            return loss_d, loss_g
        return loss_d.item(), loss_g.item()

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        return self.discriminator(images).to(self.dtype)  # the loss is not for autocast's 16 bits

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16) if self.half else contextlib.nullcontext()

    def _discriminator_loss(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """The discriminator's loss, already pulled back to its parameters."""
        if self.case.gamma:
            return self._penalised_loss(real, fake)
        with self._autocast():
            on_real = F.softplus(-self._logits(real)).mean()
        if not self.tuned:
            on_real.backward()  # as in the example: one backward pass for each half
        with self._autocast():
            on_fake = F.softplus(self._logits(fake)).mean()
        loss = on_real + on_fake
        (loss if self.tuned else on_fake).backward()
        return loss.detach()

    def _penalised_loss(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        real, fake = real.detach().requires_grad_(True), fake.detach().requires_grad_(True)
        with self._autocast():
            on_real, on_fake = self._logits(real), self._logits(fake)
        grads = torch.autograd.grad(on_real.sum() + on_fake.sum(), (real, fake), create_graph=True)
        penalty = sum(g.square().sum((1, 2, 3)).mean() for g in grads) / 2
        loss = F.softplus(on_fake - on_real).mean()
        (loss + self.case.gamma * penalty).backward()
        return loss.detach()

    def wait(self) -> None:
        """Until the device has done what it was sent."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def make(
    case: Case,
    params: tuple[Any, Any],
    variant: Variant,
    *,
    device: str = "cpu",
    half: bool = False,
    sgd: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Peer:
    """The game of `case` from the given JAX parameters; by plain SGD at the rate `sgd` where that is given."""
    where, tuned = torch.device(device), variant != "torch_eager"
    memory = torch.channels_last if tuned else torch.contiguous_format
    made: Any = torch_networks.make(case, *params)
    networks = [n.to(where, dtype).to(memory_format=memory).train() for n in made]

    def optimizer(network: torch.nn.Module) -> torch.optim.Optimizer:
        if sgd is not None:
            return torch.optim.SGD(network.parameters(), sgd)
        betas, rate = (case.b1, case.b2), case.learning_rate
        return torch.optim.Adam(network.parameters(), rate, betas=betas, fused=True if tuned else None)

    optimizers = optimizer(networks[0]), optimizer(networks[1])
    if where.type == "cuda":  # as JAX has it: kernels chosen by trying, TF32 products
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    compiled: list[Any] = networks
    if variant == "torch_compile":
        # Past its limit of recompilations, which counts over all networks of a process, it would run eagerly.
        torch._dynamo.reset()
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        compiled = [torch.compile(network, dynamic=False) for network in networks]
    return Peer(case, compiled[0], compiled[1], optimizers, tuned, where, half, dtype)
