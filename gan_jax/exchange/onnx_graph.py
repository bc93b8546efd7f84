"""A graph of ONNX that is being built: tensors, constants, and the operations that need care with shapes.

A constant stays a NumPy array until an operation needs it, so that what depends on weights alone is computed when
the graph is built. A tensor that is broadcast keeps its small shape, because ONNX broadcasts by itself.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

Shape = tuple[Any, ...]  # sizes: numbers, or one symbol, that of the batch, times a number

_END = 2**63 - 1


class Tensor(NamedTuple):
    """A value of the program.

    Attributes:
        source: the name of a value in the graph, or a constant.
        shape: of the value.
        stored: of the source; where it differs from `shape` it is 1, and the value is broadcast.
        dtype: of the value.
    """

    source: str | np.ndarray
    shape: Shape
    stored: Shape
    dtype: np.dtype

    @property
    def is_constant(self) -> bool:
        return isinstance(self.source, np.ndarray)


def constant(array: Any, shape: Shape | None = None) -> Tensor:
    """Returns a constant, broadcast to `shape`."""
    array = np.asarray(array)
    if array.dtype == jnp.bfloat16:
        array = array.astype(np.float32)
    return Tensor(array, array.shape if shape is None else shape, array.shape, array.dtype)


def symbolic(size: Any) -> bool:
    """Returns whether a size is the batch's."""
    return not isinstance(size, int | np.integer)


class Graph:
    """Nodes, constants and inputs of a graph.

    Attributes:
        nodes, initializers: as `onnx.helper` makes them.
        batch: the symbol of the batch size; None if that is a number.
    """

    def __init__(self, batch: Any = None, first_input: str = ""):
        import onnx

        self._onnx, self.nodes, self.initializers = onnx, [], []
        self.batch, self._first, self._size = batch, first_input, None
        self._constants: dict[tuple, tuple[str, np.ndarray]] = {}  # an array is kept, so its id stays its own
        self._count = 0

    def _new(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds an operation, and returns the name of its output."""
        name = self._new(kind.lower())
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def name(self, tensor: Tensor | np.ndarray) -> str:
        """Returns the name of a tensor's source; a constant becomes an initializer, equal ones the same."""
        source = tensor.source if isinstance(tensor, Tensor) else tensor
        if isinstance(source, str):
            return source
        key = (source.dtype.str, source.shape, source.tobytes() if source.nbytes < 4096 else id(source))
        if key not in self._constants:
            self._constants[key] = self._new("constant"), source
            made = self._onnx.numpy_helper.from_array(np.asarray(source, order="C"), self._constants[key][0])
            self.initializers.append(made)
        return self._constants[key][0]

    def integers(self, values: Sequence[int]) -> str:
        return self.name(np.asarray(values, np.int64))

    def sizes(self, shape: Shape) -> str:
        """Returns the name of a vector with these sizes."""
        if not any(map(symbolic, shape)):
            return self.integers(shape)
        parts = []
        for size in shape:
            if not symbolic(size):
                parts.append(self.integers([size]))
                continue
            times = size // self.batch
            if symbolic(times) or times * self.batch != size:
                raise NotImplementedError(f"a size of {size}")
            parts.append(self._batch_size() if times == 1 else self._times(times))
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0)

    def _batch_size(self) -> str:
        if self._size is None:
            self._size = self.node("Shape", self._first, start=0, end=1)
        return self._size

    def _times(self, times: int) -> str:
        return self.node("Mul", self._batch_size(), self.integers([times]))

    def whole(self, tensor: Tensor) -> Tensor:
        """Returns the tensor with a source of its whole shape."""
        if tensor.stored == tensor.shape:
            return tensor
        if isinstance(tensor.source, np.ndarray) and not any(map(symbolic, tensor.shape)):
            array = np.broadcast_to(tensor.source, tensor.shape)
            return tensor._replace(source=array, stored=tensor.shape)
        # ONNX broadcasts both ways, so a size that is there already is given as 1.
        stored = (1,) * (len(tensor.shape) - len(tensor.stored)) + tensor.stored
        wanted = tuple(1 if one == size else size for one, size in zip(stored, tensor.shape))
        source = self.node("Expand", self.name(tensor), self.sizes(wanted))
        return tensor._replace(source=source, stored=tensor.shape)

    def reshape(self, tensor: Tensor, shape: Shape) -> Tensor:
        """Returns the tensor, whole, with another shape."""
        return self.restored(self.whole(tensor), shape)._replace(shape=shape)

    def restored(self, tensor: Tensor, stored: Shape) -> Tensor:
        """Returns a tensor whose source has another shape."""
        if stored == tensor.stored:
            return tensor
        if isinstance(tensor.source, np.ndarray):
            return tensor._replace(source=tensor.source.reshape(stored), stored=stored)
        symbols = sum(map(symbolic, stored))
        sizes = [-1 if symbolic(size) else int(size) for size in stored]
        vector = self.integers(sizes) if symbols <= 1 else self.sizes(stored)
        return tensor._replace(source=self.node("Reshape", self.name(tensor), vector), stored=stored)

    def transpose(self, tensor: Tensor, order: Sequence[int]) -> Tensor:
        order = list(order)
        if order == list(range(len(tensor.shape))):
            return tensor
        tensor = self.full_rank(tensor)
        shape, stored = (tuple(sizes[i] for i in order) for sizes in (tensor.shape, tensor.stored))
        if isinstance(tensor.source, np.ndarray):
            return tensor._replace(source=np.transpose(tensor.source, order), shape=shape, stored=stored)
        source = self.node("Transpose", self.name(tensor), perm=order)
        return tensor._replace(source=source, shape=shape, stored=stored)

    def full_rank(self, tensor: Tensor) -> Tensor:
        """Returns the tensor with a source of as many axes."""
        missing = len(tensor.shape) - len(tensor.stored)
        return self.restored(tensor, (1,) * missing + tensor.stored) if missing else tensor

    def slice(self, tensor: Tensor, axes: dict[int, tuple[Any, Any, int]], shape: Shape) -> Tensor:
        """Returns a part of a tensor: start, end and step along some axes; `shape` is the result's."""
        tensor = self.full_rank(tensor)
        kept = {axis: cut for axis, cut in axes.items() if tensor.stored[axis] == tensor.shape[axis]}
        stored = tuple(shape[axis] if axis in kept else size for axis, size in enumerate(tensor.stored))
        if not kept:
            return tensor._replace(shape=shape)
        if isinstance(tensor.source, np.ndarray):
            cuts = [slice(None)] * len(shape)
            for axis, (start, end, step) in kept.items():
                cuts[axis] = slice(start, None if abs(end) >= _END else end, step)
            return tensor._replace(source=tensor.source[tuple(cuts)], shape=shape, stored=stored)
        columns = zip(*kept.values())
        starts, ends, steps = (self.integers(column) for column in columns)
        source = self.node("Slice", self.name(tensor), starts, ends, self.integers(list(kept)), steps)
        return tensor._replace(source=source, shape=shape, stored=stored)

    def flip(self, tensor: Tensor, axes: Sequence[int]) -> Tensor:
        return self.slice(tensor, dict.fromkeys(axes, (-1, -_END, -1)), tensor.shape)

    def pad(self, tensor: Tensor, edges: Sequence[tuple[int, int, int]], value: Any, shape: Shape) -> Tensor:
        """Returns a tensor with values before, behind and between; negative numbers before and behind cut."""
        tensor = self.whole(tensor)
        fill = self.name(np.asarray(value, tensor.dtype))
        for axis, (_, _, between) in enumerate(edges):
            if between:
                tensor = self._spread(tensor, axis, between, fill)
        grow = [max(0, low) for low, _, _ in edges] + [max(0, high) for _, high, _ in edges]
        if any(grow):
            source = self.node("Pad", self.name(tensor), self.integers(grow), fill)
            sizes = tuple(n + max(0, low) + max(0, high) for n, (low, high, _) in zip(tensor.shape, edges))
            tensor = tensor._replace(source=source, shape=sizes, stored=sizes)
        cut = {
            axis: (max(0, -low), min(0, high) or _END, 1)
            for axis, (low, high, _) in enumerate(edges)
            if low < 0 or high < 0
        }
        return self.slice(tensor, cut, shape) if cut else tensor

    def _spread(self, tensor: Tensor, axis: int, between: int, fill: str) -> Tensor:
        """Puts `between` values between the elements along one axis."""
        before, n, behind = tensor.shape[:axis], tensor.shape[axis], tensor.shape[axis + 1 :]
        wide = self.reshape(tensor, (*before, n, 1, *behind))
        rank = len(wide.shape)
        edges = [0] * (2 * rank)
        edges[rank + axis + 1] = between
        shape = (*before, n, 1 + between, *behind)
        source = self.node("Pad", self.name(wide), self.integers(edges), fill)
        joined = self.reshape(Tensor(source, shape, shape, tensor.dtype), (*before, n * (1 + between), *behind))
        size = n * (1 + between) - between
        return self.slice(joined, {axis: (0, size, 1)}, (*before, size, *behind))


def product(sizes: Sequence[Any]) -> Any:
    """Returns the product of sizes, of which one may be the batch's."""
    return math.prod(sizes)
