"""Spectral normalisation: divides a kernel by its largest singular value, found by power iterations.

Miyato et al., "Spectral normalization for generative adversarial networks", 2018, algorithm 1.
"""

from collections.abc import Iterator, Mapping, Sequence
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
_Path = tuple[str, ...]  # of a layer in the tree of parameters
_Vectors = list[dict[str, jax.Array]]  # u and v of each matrix


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
    kernels = dict(_kernels(variables["params"], variables[_COLLECTION], ()))
    alike: dict[tuple, list[_Path]] = {}
    for path, (matrix, u) in kernels.items():
        alike.setdefault((matrix.shape, matrix.dtype, u.dtype), []).append(path)
    new = {}
    for paths in alike.values():
        matrices, us = zip(*(kernels[path] for path in paths))
        new.update(zip(paths, _iterate(matrices, us)))

    def walk(vectors: Mapping[str, PyTree], path: _Path) -> dict[str, PyTree]:
        if "u" in vectors:
            return {name: new[path][name] for name in vectors}
        return {name: walk(part, (*path, name)) for name, part in vectors.items()}

    return {**variables, _COLLECTION: lax.stop_gradient(walk(variables[_COLLECTION], ()))}


def _kernels(
    params: Mapping[str, PyTree], vectors: Mapping[str, PyTree], path: _Path
) -> Iterator[tuple[_Path, tuple[jax.Array, jax.Array]]]:
    """Yields the path of each spectrally normalised layer, with its kernel as a matrix and its u."""
    if "u" in vectors:
        yield path, (_matrix(params["kernel"]), vectors["u"])
    else:
        for name in vectors:
            yield from _kernels(params[name], vectors[name], (*path, name))


def _iterate(matrices: Sequence[jax.Array], us: Sequence[jax.Array]) -> _Vectors:
    """Makes one power iteration for each of these matrices of one shape."""
    return lax.platform_dependent(matrices, us, cuda=_together, rocm=_together, default=_one_by_one)


def _one_by_one(matrices: Sequence[jax.Array], us: Sequence[jax.Array]) -> _Vectors:
    return [_power_iteration(matrix, u) for matrix, u in zip(matrices, us)]


def _together(matrices: Sequence[jax.Array], us: Sequence[jax.Array]) -> _Vectors:
    """As `_one_by_one`. An iteration is a few small GPU kernels, and for each layer they take longer to start."""
    new = jax.vmap(_power_iteration, out_axes=1)(jnp.stack(matrices), jnp.stack(us))
    # With the barrier, one GPU kernel writes all vectors; without it, each vector has one of its own.
    new = lax.optimization_barrier(new)
    return [{name: vectors[:, place] for name, vectors in new.items()} for place in range(len(us))]


def _power_iteration(matrix: jax.Array, u: jax.Array) -> dict[str, jax.Array]:
    v = _unit(_matmul(matrix, u))
    return {"u": _unit(_matmul(matrix.T, v)), "v": v}


class SpectralNormed(nn.Module):
    """A network whose spectrally normalised layers make one power iteration before each of its own updates."""

    @nn.nowrap
    def refresh(self, variables: Variables) -> dict[str, PyTree]:
        return spectral_refresh(variables)
