"""Means of metrics over an interval, kept on the device: the host reads them once an interval, not each step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from .step import Step
from .types import Metrics


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


def read(meter: Meter) -> tuple[dict[str, float], tuple[int, str] | None]:
    """Fetch a meter: the means, and `(first bad step, its first bad metric)` if there was one. Waits for it."""
    host = jax.device_get(meter)
    means = {n: float(s / host.counts[n]) for n, s in host.sums.items() if host.counts[n] > 0}
    if host.first_bad < 0:
        return means, None
    # Where a loss is bad its gradient is too: the cause is the one to name.
    cause = ("loss/", "logits/", "penalty/", "grad_norm/")
    named = sorted((n for n, bad in host.bad.items() if bad), key=lambda n: cause.index(n.split("/")[0] + "/"))
    return means, (int(host.first_bad), named[0] if named else "a metric")


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
