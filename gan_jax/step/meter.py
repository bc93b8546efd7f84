"""Means of metrics over an interval, kept on the device. The host reads them once an interval, not each step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from ..state import GANState
from ..types import Metrics, PyTree
from .step import Step
from .terms import PLAYER

Means = dict[str, float]
FirstBad = tuple[int, str]  # the first step whose metrics were not all finite, and one metric that was not
Reading = Callable[[], tuple[Means, FirstBad | None]]


class Meter(struct.PyTreeNode):
    """Sums of metrics since the last reset.

    Attributes:
        sums, counts: of each metric. A lazy penalty, and what belongs to an adversarial loss whose weight is 0 at
            first, count on the steps on which they are computed.
        first_bad: int32, the first step whose metrics were not all finite, or -1.
        bad: for each metric, whether it was not finite at that step.
    """

    sums: dict[str, jax.Array]
    counts: dict[str, jax.Array]
    first_bad: jax.Array
    bad: dict[str, jax.Array]


class Carry(NamedTuple):
    """What a metered step passes on to the next one, and what a checkpoint contains."""

    state: GANState
    meter: Meter


def make_meter(metrics: Metrics) -> Meter:
    """Returns an empty meter for metrics of these names (values or `jax.ShapeDtypeStruct`s)."""
    counts = ("nonfinite", "labels/out_of_range")
    names = sorted(name for name in metrics if name not in counts and not name.startswith("applied/"))
    return Meter(
        sums={name: jnp.zeros((), jnp.float32) for name in names},
        counts={name: jnp.zeros((), jnp.float32) for name in names},
        first_bad=jnp.full((), -1, jnp.int32),
        bad={name: jnp.zeros((), bool) for name in names},
    )


def reset(meter: Meter) -> Meter:
    """Returns an empty meter for the same metrics (values or `jax.ShapeDtypeStruct`s)."""
    return make_meter(meter.sums)


def add(meter: Meter, metrics: Metrics, step: jax.Array) -> Meter:
    """Returns the meter after one more step, number `step`."""
    names = list(meter.sums)
    applied = {name: f"applied/{PLAYER.get(name, name.removeprefix('penalty/'))}" for name in names}
    weights = jnp.stack([jnp.asarray(metrics.get(applied[name], 1.0), jnp.float32) for name in names])
    values = jnp.stack([metrics[name].astype(jnp.float32) for name in names])
    now = (metrics["nonfinite"] > 0) & (meter.first_bad < 0)
    bad = now & ~jnp.stack([jnp.isfinite(metrics[name]) for name in names])
    # On a GPU, each scalar that is added alone is a kernel. All that read one array, and no other, are one kernel.
    new = lax.optimization_barrier(jnp.stack([weights * values, weights, bad.astype(jnp.float32)]))
    return Meter(
        sums={name: meter.sums[name] + new[0, i] for i, name in enumerate(names)},
        counts={name: meter.counts[name] + new[1, i] for i, name in enumerate(names)},
        first_bad=jnp.where(now, step, meter.first_bad).astype(jnp.int32),
        bad={name: meter.bad[name] | (new[2, i] > 0) for i, name in enumerate(names)},
    )


def begin_read(meter: Meter) -> Reading:
    """Packs a meter. The function that it returns fetches the means and the first bad step.

    It is one transfer to the host, whatever the number of metrics, of a small array that is made now. So the
    second call does not wait for a step that was dispatched in between.
    """
    names = list(meter.sums)
    # With several devices, all hold the same.
    packed = _pack(jax.tree.map(lambda x: x.addressable_data(0), meter))
    return lambda: _unpack(jax.device_get(packed), names)


def begin_read_each(meter: Meter) -> Callable[[], tuple[list[Means], list[FirstBad | None]]]:
    """Packs the meters of several members, whose leaves are `[N]`; as `begin_read`, with lists of N results."""
    names, packed = list(meter.sums), _pack_each(meter)

    def finish() -> tuple[list[Means], list[FirstBad | None]]:
        means, bad = zip(*(_unpack(words, names) for words in jax.device_get(packed)))
        return list(means), list(bad)

    return finish


def _unpack(words: np.ndarray, names: list[str]) -> tuple[Means, FirstBad | None]:
    """Returns the means and the first bad step in what `_pack` returned."""
    sums, counts = words[1:].view(np.float32)[: 2 * len(names)].reshape(2, -1)
    means = {n: float(s / c) for n, s, c in zip(names, sums, counts) if c > 0}
    first_bad = int(words[0])
    if first_bad < 0:
        return means, None
    bad = [n for n, flag in zip(names, words[1 + 2 * len(names) :]) if flag]
    # If a loss is bad, its gradient is too: the cause is named first.
    causes = ("loss", "logits", "penalty", "grad_norm")  # then whatever else a GAN reports
    named = sorted(bad, key=lambda n: (*causes, n.split("/")[0]).index(n.split("/")[0]))
    return means, (first_bad, named[0] if named else "labels/out_of_range")


def read(meter: Meter) -> tuple[Means, FirstBad | None]:
    """Fetches a meter, and returns the means and the first bad step, if there was one. Waits for it."""
    return begin_read(meter)()


@jax.jit
def _pack(meter: Meter) -> jax.Array:
    """int32 `[1 + 3 M]`: the first bad step, the bits of the sums and of the counts, the flags."""
    values = jnp.stack([*meter.sums.values(), *meter.counts.values()])
    flags = jnp.stack(list(meter.bad.values())).astype(jnp.int32)
    return jnp.concatenate([meter.first_bad[None], lax.bitcast_convert_type(values, jnp.int32), flags])


_pack_each = jax.jit(jax.vmap(_pack))


def metered(step: Step, gather: tuple[int, ...] | None = None) -> Step:
    """Builds `(carry, batch, *shared) -> (carry, step number)` around a training step.

    The step number is a small array to wait for: state and meter are donated to the next call.

    Args:
        step: from `make_train_step`.
        gather: the shape of a sample. The batch is then `{"index": [.., B]}`, and `shared[0]` is the resident data
            set that it is gathered from; each image is one row there, `[N, numbers of a sample]`.
    """

    def run(carry: Carry, batch: PyTree, /, *shared: PyTree) -> tuple[Carry, jax.Array]:
        state, meter = carry
        if gather is not None:
            index, resident, shared = batch["index"], shared[0], shared[1:]
            batch = {name: jnp.take(rows, index, axis=0) for name, rows in resident.items()}
            batch["image"] = batch["image"].reshape(*index.shape, *gather)
        state, metrics = step(state, batch, *shared)
        return Carry(state, add(meter, metrics, state.step)), state.step

    over = step.over
    return Step(run, step.batch_axis, step.axis_name).with_over(
        over and (lambda axis, axes: metered(over(axis, axes and axes.state), gather))
    )
