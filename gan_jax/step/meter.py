"""Means of metrics over an interval, kept on the device: the host reads them once an interval, not each step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from ..types import Metrics
from .step import Step

Reading = Callable[[], tuple[dict[str, float], tuple[int, str] | None]]


class Meter(struct.PyTreeNode):
    """Attributes:
    sums, counts: of each metric since the last reset; a lazy penalty counts where it ran.
    first_bad: int32, the first step whose metrics were not all finite, or -1.
    bad: for each metric whether it was not finite at that step.
    """

    sums: dict[str, jax.Array]
    counts: dict[str, jax.Array]
    first_bad: jax.Array
    bad: dict[str, jax.Array]


def make_meter(metrics: Metrics) -> Meter:
    """An empty meter for metrics of these names (values or `jax.ShapeDtypeStruct`s)."""
    names = sorted(name for name in metrics if name != "nonfinite" and not name.startswith("applied/"))
    return Meter(
        sums={name: jnp.zeros((), jnp.float32) for name in names},
        counts={name: jnp.zeros((), jnp.float32) for name in names},
        first_bad=jnp.full((), -1, jnp.int32),
        bad={name: jnp.zeros((), bool) for name in names},
    )


def reset(meter: Meter) -> Meter:
    """An empty meter for the same metrics (values or `jax.ShapeDtypeStruct`s), on the device where jitted."""
    return make_meter(meter.sums)


def add(meter: Meter, metrics: Metrics, step: jax.Array) -> Meter:
    """The meter after one more step, number `step`."""
    weight = {name: metrics.get(f"applied/{name.split('/')[-1]}", jnp.ones(())) for name in meter.sums}
    weight = {n: w if n.startswith("penalty/") else jnp.ones(()) for n, w in weight.items()}
    now = (metrics["nonfinite"] > 0) & (meter.first_bad < 0)
    return Meter(
        sums={n: s + weight[n] * metrics[n].astype(jnp.float32) for n, s in meter.sums.items()},
        counts={n: c + weight[n] for n, c in meter.counts.items()},
        first_bad=jnp.where(now, step, meter.first_bad).astype(jnp.int32),
        bad={n: jnp.where(now, ~jnp.isfinite(metrics[n]), b) for n, b in meter.bad.items()},
    )


def begin_read(meter: Meter) -> Reading:
    """Pack a meter; what it returns fetches it and gives the means and the first bad step, if any.

    One transfer to the host, whatever the number of metrics, and of a small array made right now: a step that is
    sent between the two calls is not waited for.
    """
    names = list(meter.sums)
    # Of several devices all hold the same.
    packed = _pack(jax.tree.map(lambda x: x.addressable_data(0), meter))

    def finish() -> tuple[dict[str, float], tuple[int, str] | None]:
        words = jax.device_get(packed)
        sums, counts = words[1:].view(np.float32)[: 2 * len(names)].reshape(2, -1)
        means = {n: float(s / c) for n, s, c in zip(names, sums, counts) if c > 0}
        first_bad = int(words[0])
        if first_bad < 0:
            return means, None
        bad = [n for n, flag in zip(names, words[1 + 2 * len(names) :]) if flag]
        # Where a loss is bad its gradient is too: the cause is the one to name.
        cause = ("loss", "logits", "penalty", "grad_norm")  # then whatever else a game reports
        named = sorted(bad, key=lambda n: (*cause, n.split("/")[0]).index(n.split("/")[0]))
        return means, (first_bad, named[0] if named else "a metric")

    return finish


def read(meter: Meter) -> tuple[dict[str, float], tuple[int, str] | None]:
    """Fetch a meter: the means, and `(first bad step, its first bad metric)` if there was one. Waits for it."""
    return begin_read(meter)()


@jax.jit
def _pack(meter: Meter) -> jax.Array:
    """int32 `[1 + 3 M]`: the first bad step, the bits of the sums and of the counts, the flags."""
    values = jnp.stack([*meter.sums.values(), *meter.counts.values()])
    flags = jnp.stack(list(meter.bad.values())).astype(jnp.int32)
    return jnp.concatenate([meter.first_bad[None], lax.bitcast_convert_type(values, jnp.int32), flags])


def metered(step: Callable[..., Any], gather: bool = False) -> Step:
    """`((state, meter), batch, *shared) -> ((state, meter), step number)` around a training step.

    The step number is a small array of its own, to wait on: state and meter are donated to the next call.
    With `gather` the batch is `{"index": [.., B]}` and `shared[0]` the resident data set it is gathered from.
    """

    def run(carry: tuple, batch: Any, *shared: Any) -> tuple[tuple, jax.Array]:
        state, meter = carry
        if gather:
            batch = jax.tree.map(lambda rows: jnp.take(rows, batch["index"], axis=0), shared[0])
        state, metrics = step(state, batch)
        return (state, add(meter, metrics, state.step)), state.step

    return Step(run, getattr(step, "batch_axis", 0), getattr(step, "axis_name", None))
