"""A run: from a config and a workdir to a trained state, through any number of stops. Read `train` first.

The workdir holds `config.json`, `metrics.jsonl`, `tensorboard/`, `samples/`, `checkpoints/` and, at the end,
`samples.gif` and `report.html`. At a border, in this order: the log line, the sample, the checkpoint; so that a
process killed at any instant has written whatever lies before a checkpoint that counts.
"""

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np

from . import config as configs
from . import report
from .checkpoint import Checkpoints
from .config import Config
from .data.loader import Loader, choose_resident, read_all
from .data.source import Source
from .digest import leaf_digests, state_digest
from .errors import NonFiniteError, UserError
from .gan import GAN, init
from .meter import Meter, make_meter, read
from .metrics.modes import mode_coverage
from .ops import compiler_options
from .page import page
from .placement import Placement
from .recipe import Allow, SampleSpec, batch_spec, make_gan, make_source
from .sampling import Sampler
from .state import GANState
from .step import make_train_step
from .types import Key, PyTree
from .workdir import check_config, keep_config, locked
from .writer import Writer, rewind

_MODE_SAMPLES = 10_000


class Carry(NamedTuple):
    """What a checkpoint holds, and what training passes from step to step."""

    state: GANState
    meter: Meter


def make_carry(key: Key, config: Config, gan: GAN, spec: SampleSpec) -> Carry:
    """The carry at step 0; pure, so that `jax.eval_shape` gives its shapes and `jax.jit` makes it fast."""
    batch = batch_spec(config, spec)
    state = init(gan, key, batch)
    metrics = jax.eval_shape(make_train_step(gan), state, batch)[1]
    return Carry(state, make_meter(metrics))


def carry_shapes(config: Config, gan: GAN, spec: SampleSpec) -> Carry:
    """Shapes of the carry; a game that can't be played on such data is one sentence here.

    Raises:
        UserError: as `gan_jax.init` and the networks say.
    """
    try:
        return jax.eval_shape(lambda key: make_carry(key, config, gan, spec), jax.random.key(config.seed))
    except (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise UserError(f"{config.name}: {str(error).splitlines()[0]}") from error


def train(
    config: Config,
    workdir: str | os.PathLike,
    *,
    allow: Allow = None,
    stream: TextIO | None = None,
) -> str:
    """Train `config` in `workdir` up to `config.steps`, from the newest good checkpoint there; the digest.

    Raises:
        UserError: what the user can mend, in one sentence.
        NonFiniteError: training left the finite numbers.
    """
    configs.validate(config)
    workdir = Path(workdir)
    with locked(workdir):
        check_config(workdir, config)
        return _Run(config, workdir, allow, stream or sys.stderr).go()


def _crossed(before: int, step: int, every: int) -> bool:
    return before // every != step // every


class _Run:
    """One process's share of a run."""

    def __init__(self, config: Config, workdir: Path, allow: Allow, stream: TextIO):
        self.config, self.workdir = config, workdir
        self.source: Source = make_source(config, allow)
        self.fingerprint = self.source.fingerprint()
        self.spec = SampleSpec.of(self.source)
        self.gan = make_gan(config, self.spec, allow)
        self.placement = Placement(config)
        if config.steps % config.parallel.fuse:
            raise UserError(
                f"steps={config.steps} is no multiple of parallel.fuse={config.parallel.fuse}: a run stops at "
                "the end of a chunk"
            )
        self.resident = choose_resident(config.data.resident, self.source, self.placement.memory_bytes())
        self.step_function = self.placement.compile(self.gan, gather=self.resident, fuse=config.parallel.fuse)
        self.shapes = carry_shapes(config, self.gan, self.spec)
        self.checkpoints = Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep)
        classes = self.spec.classes if config.conditional else None
        self.sampler = Sampler(self.gan, config.seed, classes, config.sample.truncation)
        self.stream = stream
        players = (self.shapes.state.generator, self.shapes.state.discriminator)
        if config.microbatches > 1 and any("batch_stats" in player.model_state for player in players):
            self._say("note: with microbatches, batch norm's statistics are those of a microbatch")

    # -- the story

    def go(self) -> str:
        config = self.config
        with self.checkpoints:
            step, carry = self._start()
            if step < config.steps or step == 0:
                keep_config(
                    self.workdir, config
                )  # not before: a run that can't begin leaves the workdir as it was
            rewind(self.workdir, step)
            if step > config.steps:
                self._say(f"this run is at step {step} already: steps={config.steps} adds none")
            if step and not _crossed(step - config.parallel.fuse, step, config.sample.every):
                # The picture at the end of an earlier stop: off the grid, an undisturbed run has none there.
                (self.workdir / "samples" / f"step_{step:08d}.png").unlink(missing_ok=True)
            self.writer = Writer(
                self.workdir, start_step=step, total_steps=config.steps, images_per_step=config.batch,
                tensorboard=config.log.tensorboard, stream=self.stream,
            )  # fmt: skip
            with self.writer:
                if step == 0:
                    self._sample(0, carry.state)
                begun = step
                step, carry = self._steps(step, carry)
                self._sample(step, carry.state, new=step > begun)
                self._rest(step, carry.meter)
                self._save(step, carry)
                self.checkpoints.wait()
        return self._finish(step, carry.state)

    def _start(self) -> tuple[int, Carry]:
        """The carry to begin with: restored, or new."""
        target = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=self.placement.whole), self.shapes
        )
        restored = self.checkpoints.restore(target)
        if restored is None:
            # The key is an argument: of a constant, the compiler would work out the weights itself, slowly.
            make = jax.jit(
                lambda key: make_carry(key, self.config, self.gan, self.spec),
                out_shardings=self.placement.whole,
                compiler_options=compiler_options(once=True),
            )
            return 0, make(jax.random.key(self.config.seed))
        for step, why in restored.passed_over:
            self._say(f"checkpoint {step} is passed over: {why}")
        self._compare(restored.record)
        self._say(f"resuming at step {restored.step}")
        return restored.step, restored.state

    def _compare(self, record: Any) -> None:
        """Refuse another config or other data than the run began with; say where the device differs."""
        configs.check_resume(configs.from_json(record["config"]), self.config)
        if record["data"] != self.fingerprint:
            raise UserError(
                f"the data set is not the one this run began with (it was {record['data']}, it is "
                f"{self.fingerprint}): restore it, or use another --workdir"
            )
        now, then = self.placement.environment(), record["environment"]
        changed = [f"{name} {then.get(name)} -> {now[name]}" for name in now if then.get(name) != now[name]]
        if changed:
            self._say(f"resumed elsewhere ({', '.join(changed)}): results agree to rounding, not bit for bit")

    def _steps(self, step: int, carry: Carry) -> tuple[int, Carry]:
        """The loop. The host waits only for the step before the one it has just sent."""
        config, fuse = self.config, self.config.parallel.fuse
        axis, shared = self.step_function.batch_axis, self._shared()
        loader = Loader(
            self.source, seed=config.seed, batch=config.batch, turns=self.gan.rows, fuse=fuse, start_step=step,
            resident=self.resident, workers=config.data.workers, prefetch=config.data.prefetch,
        )  # fmt: skip
        pending: tuple[int, Meter] | None = None
        previous = None
        with loader:
            while step < config.steps:
                batch = self._fields(next(loader))
                carry, token = self.step_function(tuple(carry), self.placement.put_batch(batch, axis), *shared)
                carry = Carry(*carry)
                if previous is not None:
                    jax.block_until_ready(previous)
                before, step, previous = step, step + fuse, token
                if pending is not None:
                    self._log(*pending)
                    pending = None
                if _crossed(before, step, config.log.every):
                    pending, carry = (step, carry.meter), carry._replace(meter=self._empty_meter())
                samples = _crossed(before, step, config.sample.every) and step < config.steps
                saves = _crossed(before, step, config.checkpoint.every) and step < config.steps
                if pending and (samples or saves or step >= config.steps):
                    self._log(*pending)
                    pending = None
                if samples:
                    self._sample(step, carry.state)
                if saves:
                    self._save(step, carry)
        return step, carry

    # -- what it does on the way

    def _say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def _fields(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A batch as the step reads it: labels only where the run is conditional."""
        return {name: rows for name, rows in batch.items() if name != "label" or self.config.conditional}

    def _shared(self) -> tuple[PyTree, ...]:
        return (self.placement.put(self._fields(read_all(self.source))),) if self.resident else ()

    def _empty_meter(self) -> Meter:
        return self.placement.put(jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), self.shapes.meter).replace(
            first_bad=np.full((), -1, np.int32)
        ))  # fmt: skip

    def _check(self, bad: tuple[int, str] | None) -> None:
        if bad is None:
            return
        self.checkpoints.wait()
        good = self.checkpoints.steps()
        where = f"the last good checkpoint is step {good[-1]}" if good else "there is no checkpoint yet"
        raise NonFiniteError(
            f"{bad[1]} is not finite at step {bad[0]}; {where}: lower the learning rates, or raise the "
            "discriminator's penalty, in another --workdir"
        )

    def _log(self, step: int, meter: Meter) -> None:
        means, bad = read(meter)
        self.writer.write(step, means)
        self._check(bad)

    def _rest(self, step: int, meter: Meter) -> None:
        """Say, but don't write, the means since the last line: where a run stops is no part of its log."""
        means, _ = read(meter)
        if "loss/generator" in means:
            losses = f"G {means['loss/generator']:.2f} D {means['loss/discriminator']:.2f}"
            self.writer.message(f"step {step}: loss {losses} since the last line")

    def _sample(self, step: int, state: GANState, new: bool = True) -> None:
        values = self.sampler(state.ema, self.config.sample.count)
        centers = getattr(self.source, "centers", None)
        picture = report.picture(values, centers=centers, columns=self.sampler.columns(len(values)))
        report.save_png(self.workdir / "samples" / f"step_{step:08d}.png", picture)
        if new:
            self.writer.image(step, "samples", picture)
        if centers is not None and step:
            many = self.sampler(state.ema, _MODE_SAMPLES, first=self.config.sample.count)
            modes = mode_coverage(many, centers, self.source.sigma)  # type: ignore[attr-defined]
            self.writer.message(
                f"step {step}: {modes.found} of {len(centers)} modes, {modes.share:.1%} of samples within 3 sigma"
            )

    def _save(self, step: int, carry: Carry) -> None:
        """A checkpoint, once what it would hold was read as finite."""
        self._check(read(carry.meter)[1])
        record = {
            "config": configs.to_json(self.config),
            "sample": self.spec._asdict(),
            "data": self.fingerprint,
            "environment": self.placement.environment(),
        }
        self.checkpoints.save(step, carry, record)

    def _finish(self, step: int, state: GANState) -> str:
        frames = sorted((self.workdir / "samples").glob("step_*.png"))
        look = [self.workdir / "samples" / f"step_{step:08d}.png"]
        if self.config.sample.gif and len(frames) > 1:
            look.append(self.workdir / "samples.gif")
            report.save_gif(look[-1], frames)
        look.append(page(self.workdir))
        digest = state_digest(leaf_digests(state))
        self._say("look at:\n" + "".join(f"  {path}\n" for path in look) + f"step {step}, state digest {digest}")
        return digest
