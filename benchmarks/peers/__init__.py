"""The same cases in other frameworks and styles: same networks, losses, optimizer, batch and initial weights."""

import jax


def torch_device() -> str:
    """Returns PyTorch's name for the kind of device that JAX uses: "cuda" or "cpu"."""
    return "cuda" if jax.default_backend() == "gpu" else "cpu"
