"""Guards of the programs that the compilers make for GPUs and TPUs: `.ci/run programs` installs what they need.

They run no program. The compilers are wheels, so no GPU or TPU is needed either.
"""

import json

import jax
import pytest

from gan_jax.targets.fused_collectives import kind
from gan_jax.targets.traffic import results
from small_programs import BATCH, MISSING, PROGRAMS, TABLE, figures, program, shapes, versions

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} is not installed: `.ci/run programs` installs it"),
    pytest.mark.timeout(600),
]
ON_GPU = [name for name, small in PROGRAMS.items() if small.target.startswith("h200")]
MANY_DEVICES = [name for name, small in PROGRAMS.items() if small.mode != "jit"]
ROWS = json.loads(TABLE.read_text())


@pytest.mark.parametrize("name", ON_GPU)
def test_kernel_gradients_are_cudnns_backward_filter(name):
    """As a forward convolution over a dilated map, a kernel gradient is many times slower."""
    assert [f"{product.shapes} {product.op_name}" for product in program(name).slow] == []


@pytest.mark.parametrize("name", ON_GPU)
def test_no_large_map_is_copied(name):
    """8 x 8 maps of 64 channels and larger: such a copy costs as much traffic as the convolution beside it."""
    samples = BATCH // PROGRAMS[name].devices
    kernels = [kernel for kernel in program(name).kernels if kernel.moved is not None]
    assert [f"{k.moved} {k.op_name}" for k in kernels if is_map(k.moved, samples, samples * 8 * 8 * 64)] == []


def is_map(array, samples, size):
    """Says whether an array holds so many numbers, with an axis of samples, and is no image of 3 colours."""
    of_samples = any(length % samples == 0 for length in array.dims)
    return array.size >= size and of_samples and len(array.dims) != 3 and min(array.dims) > 3


@pytest.mark.parametrize("name", MANY_DEVICES)
def test_no_activations_are_gathered(name):
    """Only what is named: the 4 x 4 maps of minibatch deviation in StyleGAN2, and parameters that are split."""
    allowed = BATCH * 4 * 4 * 64 if name.startswith("stylegan2") else 0
    whole = {x.size for x in jax.tree.leaves(shapes(name)[1])} if PROGRAMS[name].mode == "split" else set()
    moved = [(one, array) for one, array in sent(name) if array.size > allowed]
    moved = [pair for pair in moved if not whole & {pair[1].size, PROGRAMS[name].devices * pair[1].size}]
    assert [f"{one.opcode} {array} {one.op_name}" for one, array in moved] == []


def sent(name):
    """Yields every array that the devices gather, scatter or exchange, with its instruction."""
    for computation in program(name).module.computations.values():
        for one in computation.instructions.values():
            if kind(one) not in ("", "all-reduce"):
                yield from ((one, array) for array in results(one))


@pytest.mark.parametrize("name", [name for name in MANY_DEVICES if PROGRAMS[name].mode == "split"])
def test_gradients_of_split_parameters_are_scattered(name):
    """A TPU's compiler may add up a gradient on every device, and then cut it (`_fills_tiles`)."""
    found = program(name).collectives
    assert found["all-reduce"].bytes < 0.1 * found["reduce-scatter"].bytes


@pytest.mark.parametrize("name", MANY_DEVICES)
def test_sums_over_devices_are_float32(name):
    sums = [k for k in collectives(name) if k.call == "all-reduce"]
    assert [f"{k.result} {k.op_name}" for k in sums if k.result.dtype not in ("f32", "s32")] == []


def collectives(name):
    """Returns the collectives of a program, those of every branch of a conditional too."""
    return [kernel for kernel in program(name).kernels if kernel.kind == "collective"]


@pytest.mark.parametrize("name", ROWS["programs"])
def test_figures_stay_within_5_percent(name):
    """Kernels, bytes and all-reduces are those of `table.json`, which says why each is what it is."""
    row = dict(ROWS["programs"][name])
    assert row.pop("reason"), f"{name} has no reason in {TABLE.name}"
    assert versions() == ROWS["versions"], "`.ci/run programs` installs the versions of the table"
    found = figures(name)
    far = {key: (value, found[key]) for key, value in row.items() if abs(found[key] - value) > 0.05 * value}
    assert not far, (
        f"{name}: table and program are more than 5 % apart, {far}. "
        f'If that is meant: python tests/programs/update_table.py "the reason" "{name}"'
    )
