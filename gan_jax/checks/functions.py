"""What functions of a user take, and whether a step can serve them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ..networks.keywords import read_signature
from ..pytree import widened
from ..types import AxisName, PyTree


def takes(function: Callable, keyword: str) -> bool:
    """Returns whether a function's signature names `keyword`, or takes any keyword."""
    named, anything = read_signature(function)  # without a cache: a function may close over traced numbers
    return anything or keyword in named


def axis_keyword(function: Callable, axis_name: AxisName | None) -> dict[str, AxisName | None]:
    """Returns the keyword `axis_name`, the device axis, for a loss or a penalty that takes it."""
    return {"axis_name": axis_name} if takes(function, "axis_name") else {}


def check_optimizer(name: str, tx: optax.GradientTransformation, params: PyTree, opt_state: PyTree) -> None:
    """Checks that an optimizer makes an update of what a step gives it.

    Raises:
        ValueError: it needs more than the mean gradient, the parameters and the loss, such as the loss as a
            function or the gradient of each sample.
    """

    def update(params: PyTree, opt_state: PyTree) -> PyTree:
        keywords = {"value": jnp.zeros(())} if takes(tx.update, "value") else {}
        return tx.update(params, opt_state, params, **keywords)

    try:
        jax.eval_shape(update, widened(params), opt_state)
    except NameError:  # it reduces over a device axis, which is not here
        pass
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is an optimizer that a step cannot serve: it gets the mean gradient, the parameters and, as "
            f"`value`, the loss, and fails with them ({str(error).splitlines()[0]})"
        ) from error
