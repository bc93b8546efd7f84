"""Single operations in PyTorch, in the memory format "channels last"."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F


def convolution(
    x: np.ndarray, w: np.ndarray, y: np.ndarray, stride: int, device: str
) -> dict[str, Callable[[int], None]]:
    """Returns `run(n)` of the forward pass and of both gradients of a convolution with padding 1.

    Input `x`, kernel `w` and output gradient `y` are in JAX's layout.
    """

    def place(array: np.ndarray, *axes: int) -> torch.Tensor:
        return torch.tensor(array).to(device).permute(*axes).contiguous(memory_format=torch.channels_last)

    image, out, kernel = place(x, 0, 3, 1, 2), place(y, 0, 3, 1, 2), place(w, 3, 2, 0, 1)
    backward = torch.ops.aten.convolution_backward

    def gradient(of_input: bool) -> Callable[[], object]:
        mask = [of_input, not of_input, False]
        return lambda: backward(out, image, kernel, None, [stride] * 2, [1, 1], [1, 1], False, [0, 0], 1, mask)

    def repeated(function: Callable[[], object]) -> Callable[[int], None]:
        def run(n: int) -> None:
            with torch.no_grad():
                for _ in range(n):
                    function()
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    return {
        "forward": repeated(lambda: F.conv2d(image, kernel, stride=stride, padding=1)),
        "input gradient": repeated(gradient(True)),
        "kernel gradient": repeated(gradient(False)),
    }
