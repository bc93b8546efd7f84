"""Guards of the programs that the compilers make for GPUs and TPUs: `.ci/run programs` installs what they need.

They run no program. The compilers are wheels, so no GPU or TPU is needed either.
"""

import json

import pytest

from scan import collectives, copied_maps, slow_convolutions
from small_programs import BATCH, MISSING, PROGRAMS, TABLE, figures, program, versions

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} is not installed: `.ci/run programs` installs it"),
    pytest.mark.timeout(600),
]
ON_GPU = [name for name, small in PROGRAMS.items() if small.target.startswith("h200")]
MANY_DEVICES = [name for name, small in PROGRAMS.items() if small.mode != "jit"]
ROWS = json.loads(TABLE.read_text())


def grouped(names):
    """Keeps the tests of one program in one process, so that it is compiled once."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


@pytest.mark.parametrize("name", grouped(ON_GPU))
def test_kernel_gradients_are_cudnns_backward_filter(name):
    """As a forward convolution over a dilated map, a kernel gradient is many times slower."""
    assert slow_convolutions(program(name).text, BATCH // PROGRAMS[name].devices) == []


@pytest.mark.parametrize("name", grouped(ON_GPU))
def test_no_large_map_is_copied(name):
    """8 x 8 maps of 64 channels and larger. A transposed copy costs as much traffic as the convolution beside it."""
    batch = BATCH // PROGRAMS[name].devices
    assert copied_maps(program(name).text, batch, elements=batch * 8 * 8 * 64) == []


@pytest.mark.parametrize("name", grouped(MANY_DEVICES))
def test_no_activations_are_gathered(name):
    """Minibatch deviation in StyleGAN2 asks for its 4 x 4 maps by name; nothing else is gathered or exchanged."""
    allowed = BATCH * 4 * 4 * 64 if name.startswith("stylegan2") else 0
    moved = [c for c in collectives(program(name).text) if c.kind != "all-reduce" and max(c.sizes) > allowed]
    assert moved == []


@pytest.mark.parametrize("name", grouped(ROWS["programs"]))
def test_figures_stay_within_5_percent(name):
    """Kernels, bytes and all-reduces are those of `table.json`, which says why each is what it is."""
    row = dict(ROWS["programs"][name])
    assert row.pop("reason"), f"{name} has no reason in {TABLE.name}"
    if versions() != ROWS["versions"]:
        pytest.skip(f"the table is of {ROWS['versions']}, installed are {versions()}")
    found = figures(name)
    far = {key: (value, found[key]) for key, value in row.items() if abs(found[key] - value) > 0.05 * value}
    assert not far, (
        f"{name}: table and program are more than 5 % apart, {far}. "
        f'If that is meant: python tests/programs/update_table.py "{name}" "the reason"'
    )
