"""`gan-jax train --dry-run --target`: what a run's step is on a GPU or a TPU that is not here."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from .. import targets
from ..config import Config, override, to_json
from ..config.build import batch_spec, make_gan
from ..config.declared import Declared, declared
from ..data.loader import choose_resident, resident_spec
from ..errors import UserError, one_line
from ..runtime.placement import UNSPLIT, Placement
from ..step import make_train_step
from ..targets import report
from ..targets.fit import divisors, smallest
from ..train.programs import Programs
from ..train.validate import check_run, notes

PACKAGES = ("jax", "jaxlib", "gan_jax", "libtpu", "jax-cuda12-plugin")


def describe(config: Config, names: Sequence[str], file: Path | None, quick: bool = False) -> Iterator[str]:
    """Yields lines on the step of `config`, compiled for each target, and writes all to `file` as JSON.

    Nothing of the data is read, beyond its shape. With `quick`, a TPU's compiler makes less effort.

    Raises:
        UserError: the config cannot be trained, or there is no such target, or its compiler is not installed.
    """
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        raise UserError(f"'{one_line(file)}' cannot be written: give --json a file in a folder that is there")
    # No device of this computer is used, and JAX looks for none.
    jax.config.update("jax_platforms", "cpu")
    found = [targets.find(name) for name in names]
    if quick:
        found = [target.quick() for target in found]
        same = [target.name for target in found if not target.less_effort]
        if same:
            yield f"--quick changes nothing for {', '.join(same)}: it is for TPUs"
    # What is compiled for another device can't be loaded from the cache of programs here.
    jax.config.update("jax_enable_compilation_cache", False)
    data = declared(config)
    check_run(config, data.source)
    yield from notes(config, data)
    results = []
    for target in found:
        yield from _other_devices(config, target)
        facts = measure(config, data, target)
        results.append(facts)
        yield ""
        yield from describe_fit(facts) if "bounds_seconds" not in facts else report.lines(facts)
        yield from fitting(facts)
    if file is not None:
        about = {"config": config.name, "versions": versions(), "fields": to_json(config), "targets": results}
        try:
            file.write_text(json.dumps(about, indent=1))
        except OSError as error:
            raise UserError(f"'{one_line(file)}' cannot be written: {error.strerror}") from error


def versions() -> dict[str, str]:
    """Returns the versions of the packages that a program depends on, those that are installed."""
    there = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    return {name: there[name] for name in PACKAGES if name in there}


def _other_devices(config: Config, target: targets.Target) -> Iterator[str]:
    """Yields a note where the config asks for other devices than the target has."""
    wanted = 1 if config.parallel.mode == "jit" else config.parallel.devices
    number = len(target.devices)
    if wanted not in (0, number):
        field = "mode=jit" if config.parallel.mode == "jit" else f"devices={wanted}"
        devices = f"{number} device{'s' if number > 1 else ''}"
        yield f"note: parallel.{field} is not used: target {target.name} has {devices}"
    if number == 1 and config.parallel.params == "sharded":
        yield f"{UNSPLIT}: target {target.name}"


def measure(config: Config, data: Declared, target: targets.Target) -> dict[str, Any]:
    """Compiles the step for a target, and returns what `report.summary` does, with "fit" where it does not fit.

    Where a TPU's compiler finds no way to fit it in, there is only the memory that it would take.
    """
    fuse = config.parallel.fuse
    try:
        program = compile_for(config, data, target)
        facts = report.summary(program, steps=fuse, images=config.batch)
        state, needed, fits = program.memory.state, program.memory.needed, program.fits
    except targets.DoesNotFitError as error:
        needed, state, fits = error.needed or 0, 0, False
        available = target.chip.memory
        facts = {
            "target": target.name, "chip": target.chip.name, "devices": len(target.devices),
            "memory": {"needed": needed, "available": available, "fits": False},
        }  # fmt: skip
    if not fits:
        facts["fit"] = search(config, data, target, state, needed)
    return facts


def search(
    config: Config, data: Declared, target: targets.Target, state: int, needed: int
) -> dict[str, int | None]:
    """Returns the fewest microbatches, and else the largest batch per device, with which the step fits.

    Args:
        config, data, target: as for `compile_for`.
        state: bytes of the state on a device.
        needed: bytes of the step that does not fit.
    """
    devices = len(target.devices)

    def fits(**changes: int) -> bool:
        try:
            return compile_for(dataclasses.replace(config, **changes), data, target).fits
        except targets.DoesNotFitError:
            return False

    # Temporaries shrink as a part of the batch does, the state does not.
    guess = max(needed - state, 1) / max(target.chip.memory - state, 1)
    parts = config.batch // devices
    more = [m for m in divisors(parts) if m > config.microbatches and m % config.microbatches == 0]
    found = smallest(more, lambda m: fits(microbatches=m), guess * config.microbatches)
    fewer = [n for n in divisors(parts // config.microbatches) if n > 1]
    share = smallest(fewer, lambda n: fits(batch=config.batch // n), guess)
    return {"microbatches": found, "batch_per_device": None if share is None else parts // share}


def describe_fit(facts: dict[str, Any]) -> Iterator[str]:
    """Yields the lines on a program that the compiler could not fit into the memory."""
    used = facts["memory"]
    yield f"target {facts['target']}: {facts['devices']} x {facts['chip']}"
    yield f"  memory of a device: {report.size(used['needed'])}: does not fit in {used['available'] / 1e9:g} GB"


def fitting(facts: dict[str, Any]) -> Iterator[str]:
    """Yields the line on what would fit, where the step does not."""
    if (found := facts.get("fit")) is None:
        return
    microbatches, batch = found["microbatches"], found["batch_per_device"]
    options = [
        "" if microbatches is None else f"microbatches={microbatches}",
        "" if batch is None else f"a batch of {batch} per device (batch={batch * facts['devices']})",
    ]
    yield f"  what fits: {' or '.join(filter(None, options)) or 'nothing: take more devices or a smaller model'}"


def compile_for(config: Config, data: Declared, target: targets.Target) -> targets.Program:
    """Compiles the step of a run as training would: sharded, fused, metered, in the config's precision.

    Raises:
        UserError: the config does not fit the target's number of devices, or the compiler refuses the step.
    """
    mode = config.parallel.mode
    if mode == "jit" and len(target.devices) > 1:
        mode = "auto"  # the target says how many devices there are
    config = override(config, ["parallel.devices=0", f"parallel.mode={mode}"])
    gan = make_gan(config, data.spec)
    placement = Placement(config, target.devices)
    resident = data.count is not None and choose_resident(config.data.resident, data, int(target.chip.memory))
    programs = Programs(config, gan, data.spec, placement, resident)
    batch = batch_spec(config, gan, data.spec)
    chunk, shared = dict(batch), ()
    if resident:
        chunk = {
            "index": jax.ShapeDtypeStruct(batch["image"].shape[: batch["image"].ndim - len(data.shape)], "int32")
        }
        shared = (resident_spec(data, config.conditional),)
    fuse = config.parallel.fuse
    if fuse > 1:
        chunk = {name: jax.ShapeDtypeStruct((fuse, *leaf.shape), leaf.dtype) for name, leaf in chunk.items()}
    state, placed, *rest = programs.step_arguments(chunk, shared)
    # The model's operations are those of the plain step: nothing is computed twice, on devices or to save memory.
    plain = make_train_step(make_gan(dataclasses.replace(config, remat="none"), data.spec))
    flops = fuse * targets.function_flops(plain, programs.shapes.state, batch)
    return targets.compile_step(programs.placed_step, state, placed, target, *rest, model_flops=flops)
