"""What a compiled program is, read from its text: kernels, bytes, products, collectives, bounds."""

from pathlib import Path

import pytest

from gan_jax.targets import hlo
from gan_jax.targets.bounds import bounds
from gan_jax.targets.chips import Chip
from gan_jax.targets.collectives import collectives
from gan_jax.targets.kernels import kernels

# Small programs as XLA's compilers for a GPU and a TPU print them, cut down to what is read.
GPU, TPU = ((Path(__file__).parent / f"{name}_program.txt").read_text() for name in ("gpu", "tpu"))


@pytest.fixture(scope="module")
def gpu():
    return {kernel.name: kernel for kernel in kernels(hlo.parse(GPU))}


@pytest.fixture(scope="module")
def tpu():
    return {kernel.name: kernel for kernel in kernels(hlo.parse(TPU))}


def test_types():
    module = hlo.parse(TPU)
    start = module[module.entry].instructions["copy-start"]
    assert [str(array) for array in start.arrays] == ["bf16[1024,128]", "bf16[1024,128]", "u32[]"]
    assert [array.space for array in start.arrays] == [1, 0, 2]
    assert start.arrays[0].order == (1, 0)
    assert start.arrays[0].bytes == 2 * 1024 * 128
    assert module["body"].root.operands == ("next", "rows")


@pytest.mark.parametrize(("dtype", "bits"), [("bf16", 16), ("f8e4m3fn", 8), ("pred", 8), ("s4", 4), ("c64", 64)])
def test_bits(dtype, bits):
    assert hlo.bits(dtype) == bits


def test_text_that_is_no_program():
    with pytest.raises(hlo.HLOError, match="no entry computation"):
        hlo.parse("module @jit_step {}")


def test_kinds(gpu):
    assert {name: (kernel.kind, kernel.call) for name, kernel in gpu.items()} == {
        "conv.1": ("convolution", "convForward"),
        "conv.2": ("convolution", "convBackwardInput"),
        "conv.3": ("convolution", "convBackwardFilter"),
        "conv.4": ("convolution", "convForward"),
        "gemm_fusion": ("matrix product", "triton"),
        "matmul": ("matrix product", "cublas$lt$matmul"),
        "slice_fusion": ("fusion", ""),
        "update_fusion": ("fusion", ""),
        "copy.8": ("copy", ""),
        "transpose_fusion": ("transpose", ""),
        "all-reduce-start": ("collective", "all-reduce"),
        "all-gather-start": ("collective", "all-gather"),
        "sum": ("add", ""),
    }


def test_convolutions_of_cudnn_have_the_operations_of_the_forward_convolution(gpu):
    # 16 pixels, stride 2, one pixel of padding: outputs see 3, 4, 4, ..., 4, 3 kernel positions along each axis.
    positions = (2 * 3 + 6 * 4) ** 2
    expected = 2 * 8 * 3 * 64 * positions
    assert [gpu[f"conv.{n}"].flops for n in (1, 2, 3, 4)] == [expected] * 4


def test_slow_convolutions(gpu):
    assert [bool(gpu[f"conv.{n}"].products[0].slow) for n in (1, 2, 3, 4)] == [False, False, False, True]


def test_matrix_products(gpu):
    assert gpu["gemm_fusion"].flops == gpu["matmul"].flops == 2 * 8 * 4 * 16
    assert [gpu[name].products[0].precise for name in ("gemm_fusion", "matmul")] == [False, True]
    assert gpu["matmul"].products[0].dtype == "bf16"


def test_a_workspace_is_not_written(gpu):
    assert gpu["matmul"].written == 4 * 8 * 4
    assert gpu["conv.1"].bytes == 2 * (8 * 16 * 16 * 3 + 64 * 4 * 4 * 3 + 8 * 8 * 8 * 64)


def test_a_loop_reads_one_slice_a_round(gpu):
    row = 4 * 8 * 16
    assert gpu["slice_fusion"].count == gpu["update_fusion"].count == 6
    assert (gpu["slice_fusion"].read, gpu["slice_fusion"].written) == (row + 4, row)
    assert (gpu["update_fusion"].read, gpu["update_fusion"].written) == (row + 4, row)  # in place


def test_the_dearest_branch_runs(gpu):
    assert gpu["copy.8"].count == 1
    swapped = GPU.replace(
        "true_computation=%cheap, false_computation=%dear", "branch_computations={%cheap, %dear}"
    )
    assert {k.name: k.count for k in kernels(hlo.parse(swapped))}["copy.8"] == 1
    both = GPU.replace("ROOT %p.7 = f32[8,16]{1,0} parameter(0)", "%p.7 = f32[8,16]{1,0} parameter(0)\n"
                       "  ROOT %wide = f64[8,16]{1,0} convert(%p.7)")  # fmt: skip
    counts = {k.name: k.count for k in kernels(hlo.parse(both))}
    assert (counts["copy.8"], counts["wide"]) == (0, 1)


def test_moved_maps(gpu):
    moved = {name: str(kernel.moved) for name, kernel in gpu.items() if kernel.moved}
    assert moved == {"transpose_fusion": "bf16[8,16,4,4]", "copy.8": "f32[8,16]"}


def test_a_transpose_that_moves_nothing():
    text = GPU.replace("bf16[8,16,4,4]{3,2,1,0}", "bf16[8,16,4,4]{1,3,2,0}")
    assert not next(k for k in kernels(hlo.parse(text)) if k.name == "transpose_fusion").moved


def test_a_collective_of_another_branch_is_named(gpu):
    """A lazy penalty's branch is not always the most expensive one."""
    found = collectives([gpu["all-gather-start"]._replace(count=0)])
    assert found["all-gather"].count == found["all-gather"].bytes == 0


def test_collectives(gpu):
    found = collectives(gpu.values())
    assert {kind: tuple(one) for kind, one in found.items()} == {
        "all-reduce": (1, 4 * 8 * 16, "f32[8,16]"),
        "all-gather": (1, 4 * 16 * 16, "f32[16,16]"),
    }


DOWN = """HloModule down

ENTRY main (x: f32[256,4,4,32], w: f32[64,4,4,32]) -> f32[256,2,2,64] {
  %x = f32[256,4,4,32]{3,2,1,0} parameter(0)
  %w = f32[64,4,4,32]{3,2,1,0} parameter(1)
  %conv.1 = (f32[256,2,2,64]{3,2,1,0}, u8[0]{0}) custom-call(%x, %w), window={size=4x4 stride=2x2 pad=1_1x1_1}, \
dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward"
  ROOT %out = f32[256,2,2,64]{3,2,1,0} get-tuple-element(%conv.1), index=0
}
""".replace("\\\n", "")


def test_a_convolution_whose_kernel_is_as_large_as_the_map_is_not_slow():
    """It is the forward convolution of a DCGAN at 4 x 4; as a kernel gradient it would have no stride."""
    (conv,) = kernels(hlo.parse(DOWN))
    assert conv.products[0].slow == ""
    (conv,) = kernels(hlo.parse(DOWN.replace(" stride=2x2 pad=1_1x1_1", " pad=1_0x1_0")))
    assert conv.products[0].slow == "a kernel gradient as a forward convolution"


def test_tpu(tpu):
    assert tpu["convolution.1"].flops == 2 * 16 * 1024 * 128
    assert tpu["next"].count == 2  # the condition says how often
    assert tpu["next"].kind == "scalar"
    assert str(tpu["copy"].moved) == "f32[16,128]"


def test_memory_on_the_chip_is_no_traffic(tpu):
    assert (tpu["copy-start"].read, tpu["copy-start"].written) == (2 * 1024 * 128, 0)
    assert (tpu["convolution.1"].read, tpu["convolution.1"].written) == (2 * 16 * 1024, 0)


def test_a_loop_whose_rounds_are_not_known():
    text = GPU.replace("direction=LT", "direction=NE").replace('"known_trip_count":{"n":"6"}', "")
    with pytest.raises(hlo.HLOError, match=r"while\.1 runs depends on data"):
        kernels(hlo.parse(text))


def test_bounds(gpu):
    """Rates with which the times can be read off: a FLOP of bf16 is 1 s, one of precise float32 10, a byte 100."""
    chip = Chip("toy", 1.0, 0.01, {"bf16": 1.0, "tf32": 0.5, "float32": 0.1}, "")
    one = {"gemm_fusion": gpu["gemm_fusion"], "slice_fusion": gpu["slice_fusion"]}
    arithmetic, traffic = 1024.0, [100.0 * (256 + 128 + 128), 6 * 100.0 * (512 + 512 + 4)]
    assert bounds(one.values(), chip) == pytest.approx((arithmetic, sum(traffic), sum(traffic)))
    fast = Chip("toy", 1.0, 1e9, {"bf16": 1.0, "tf32": 0.5, "float32": 0.1}, "")
    assert bounds([gpu["gemm_fusion"]], fast).kernels == pytest.approx(arithmetic)
    assert fast.rate("f32", False) == 0.5
    assert fast.rate("f32", True) == 0.1
