"""Collectives whose pieces a TPU's compiler puts into several fusions: each counts as often as it runs."""

from gan_jax.targets import hlo
from gan_jax.targets.collectives import collectives
from gan_jax.targets.kernels import kernels

PIECES = """HloModule pieces

piece (p.0: bf16[8,16], p.1: bf16[16,16], p.2: bf16[1,16]) -> (bf16[8,16], bf16[4,16]) {
  %p.0 = bf16[8,16]{1,0} parameter(0)
  %p.1 = bf16[16,16]{1,0} parameter(1)
  %p.2 = bf16[1,16]{1,0} parameter(2)
  %dot.1 = bf16[8,16]{1,0} convolution(%p.0, %p.1), dim_labels=bf_io->bf, metadata={op_name="jit(f)/dot"}
  %all-gather.1 = bf16[4,16]{1,0} all-gather(%p.2), channel_id=1, frontend_attributes={chain_id="7"}
  ROOT %tuple.1 = (bf16[8,16]{1,0}, bf16[4,16]{1,0}) tuple(%dot.1, %all-gather.1)
}

ENTRY main (x: bf16[8,16], w: bf16[16,16], y: bf16[1,16]) -> bf16[8,16] {
  %x = bf16[8,16]{1,0} parameter(0)
  %w = bf16[16,16]{1,0} parameter(1)
  %y = bf16[1,16]{1,0} parameter(2)
  %fusion.1 = (bf16[8,16]{1,0}, bf16[4,16]{1,0}) fusion(%x, %w, %y), kind=kOutput, calls=%piece
  %gte.1 = bf16[8,16]{1,0} get-tuple-element(%fusion.1), index=0
  %fusion.2 = (bf16[8,16]{1,0}, bf16[4,16]{1,0}) fusion(%gte.1, %w, %y), kind=kOutput, calls=%piece
  ROOT %gte.2 = bf16[8,16]{1,0} get-tuple-element(%fusion.2), index=0
}
"""


def test_a_collective_beside_several_fusions_is_one():
    """A TPU's compiler puts a piece of it into each; the fusions still compute what they compute."""
    found = {kernel.name: kernel for kernel in kernels(hlo.parse(PIECES))}
    assert {name: kernel.kind for name, kernel in found.items()} == {
        "all-gather.1": "collective", "fusion.1": "convolution", "fusion.2": "convolution",
    }  # fmt: skip
    assert tuple(collectives(found.values())["all-gather"]) == (1, 2 * 4 * 16, "bf16[4,16]")
    assert found["all-gather.1"].bytes == 0
    assert found["fusion.1"].flops == found["fusion.2"].flops == 2 * 8 * 16 * 16


STATE = "(s32[], bf16[8,16], bf16[16,16], bf16[1,16])"
BODY = f"""
body (s: {STATE}) -> {STATE} {{
  %s = {STATE} parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %a = bf16[8,16]{{1,0}} get-tuple-element(%s), index=1
  %b = bf16[16,16]{{1,0}} get-tuple-element(%s), index=2
  %c = bf16[1,16]{{1,0}} get-tuple-element(%s), index=3
  %fusion.3 = (bf16[8,16]{{1,0}}, bf16[4,16]{{1,0}}) fusion(%a, %b, %c), kind=kOutput, calls=%piece
  %gte.3 = bf16[8,16]{{1,0}} get-tuple-element(%fusion.3), index=0
  ROOT %next = {STATE} tuple(%i, %gte.3, %b, %c)
}}

until (s.1: {STATE}) -> pred[] {{
  %s.1 = {STATE} parameter(0)
  %i.1 = s32[] get-tuple-element(%s.1), index=0
  %limit = s32[] constant(80)
  ROOT %less = pred[] compare(%i.1, %limit), direction=LT
}}

"""
START = f"""  %zero = s32[] constant(0)
  %start = {STATE} tuple(%zero, %gte.1, %w, %y)
"""
# Two computations that have a collective of one other chain; the second reads more.
OTHER = PIECES.replace('chain_id="7"', 'chain_id="8"').split("ENTRY")[0]
OTHER = OTHER.replace("HloModule pieces\n", "").replace("piece (", "other (")
ALONE = BODY.split("until")[0].replace("calls=%piece", "calls=%other").replace("body (", "alone (")
LARGER = ALONE.replace("alone (", "larger (").replace(
    "  ROOT %next", "  %copy.9 = bf16[8,16]{0,1} copy(%a)\n  ROOT %next"
)


def found_in(lines):
    """Returns the kernels of `PIECES` with the computations above and, before its second fusion, with `lines`."""
    head, entry = PIECES.split("ENTRY")
    entry = entry.replace("  %fusion.2", START + lines + "  %fusion.2")
    return kernels(hlo.parse(f"{head}{BODY}{OTHER}{ALONE}{LARGER}ENTRY{entry}"))


def test_a_piece_in_a_loop_is_no_collective_of_each_round():
    """The collective starts before the loop, so it runs once."""
    found = found_in(f"  %while.1 = {STATE} while(%start), condition=%until, body=%body\n")
    assert [kernel.count for kernel in found if kernel.name == "fusion.3"] == [80]
    assert collectives(found)["all-gather"].count == 1


def test_a_computation_that_is_called_twice_runs_its_collective_twice():
    lines = "".join(f"  %call.{i} = {STATE} call(%start), to_apply=%alone\n" for i in (1, 2))
    found = found_in(lines)
    assert collectives(found)["all-gather"].count == 1 + 2


def test_of_two_branches_one_runs_its_collective():
    lines = "  %p = pred[] constant(false)\n"
    lines += f"  %branch = {STATE} conditional(%p, %start, %start), branch_computations={{%alone, %larger}}\n"
    found = found_in(lines)
    assert collectives(found)["all-gather"].count == 1 + 1
