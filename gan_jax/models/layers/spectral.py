"""Spectral normalisation: divides a kernel by its largest singular value, found by power iterations.

Miyato et al., "Spectral normalization for generative adversarial networks", 2018, algorithm 1.
"""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from ...ops import widen
from ...types import PyTree, Variables

SpectralVectors = Literal["u", "uv"]
"""The singular vectors that the collection "spectral" keeps between passes.

"u" keeps u `[O]`, and computes v = W u / |W u| anew in each pass, so the singular value is |W u|. "uv" keeps
v `[fan-in]` too, as PyTorch does: the value is v . W u, half a power iteration less.
"""
Spectral = bool | SpectralVectors  # of a layer: False has no spectral normalisation, True means "u"

_COLLECTION = "spectral"


def _unit(vector: jax.Array) -> jax.Array:
    return vector / (jnp.linalg.norm(vector) + 1e-12)


def _matrix(kernel: jax.Array) -> jax.Array:
    """Reshapes a kernel `[..., O]` to the matrix `[fan-in, O]` whose largest singular value is used."""
    return widen(kernel.reshape(-1, kernel.shape[-1]))


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiplies in full float32, even where the platform's default precision is lower: norms must be exact."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def singular_value(layer: nn.Module, kernel: jax.Array, vectors: SpectralVectors) -> jax.Array:
    """Returns v . W u, whose gradient treats u and v as constants. Call it in a compact method of `layer`.

    The first u is random, and the first v is W u / |W u|.
    """

    def init_u() -> jax.Array:
        return _unit(jax.random.normal(layer.make_rng("params"), (kernel.shape[-1],), jnp.float32))

    u = lax.stop_gradient(layer.variable(_COLLECTION, "u", init_u).value)
    product = _matmul(_matrix(kernel), u)
    v = _unit(product)
    if vectors == "uv":
        v = layer.variable(_COLLECTION, "v", lambda: v).value
    return _matmul(lax.stop_gradient(v), product)


def spectral_refresh(variables: Variables) -> dict[str, PyTree]:
    """Makes one power iteration for every spectrally normalised kernel: v = W u / ||W u||, u <- W^T v / ||.||."""
    if _COLLECTION not in variables:
        return dict(variables)

    def walk(params: Mapping[str, PyTree], vectors: Mapping[str, PyTree]) -> dict[str, PyTree]:
        if "u" not in vectors:
            return {name: walk(params[name], vectors[name]) for name in vectors}
        matrix = _matrix(params["kernel"])
        v = _unit(_matmul(matrix, vectors["u"]))
        new = {"u": _unit(_matmul(matrix.T, v)), "v": v}
        return {name: new[name] for name in vectors}

    return {**variables, _COLLECTION: lax.stop_gradient(walk(variables["params"], variables[_COLLECTION]))}


class SpectralNormed(nn.Module):
    """A network whose spectrally normalised layers make one power iteration before each of its own updates."""

    @nn.nowrap
    def refresh(self, variables: Variables) -> dict[str, PyTree]:
        return spectral_refresh(variables)
