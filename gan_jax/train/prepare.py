"""Everything that a run needs before its first step."""

from typing import NamedTuple

from .. import config as configs
from ..config import Config
from ..config.build import Allow, SampleSpec, make_gan, make_source
from ..config.declared import Declared
from ..data.loader import choose_resident
from ..data.source import Source, as_known, rate
from ..gan import GAN
from ..runtime.hosts import Hosts
from ..runtime.placement import Placement
from ..runtime.startup_timings import Timings
from ..step import mixes_samples
from .late_start import late_starts
from .layout import Known
from .programs import Programs
from .validate import check_run, notes


class Prepared(NamedTuple):
    """A run that is ready to start, on this process.

    Attributes:
        config: what is trained.
        source: the data.
        fingerprint: of the data.
        gan: built from the config.
        placement: the devices.
        resident: whether the data set is kept on the devices.
        programs: what is compiled.
        record: what the record of every checkpoint contains besides its metrics.
        notes: lines that are said before training.
    """

    config: Config
    source: Source
    fingerprint: str
    gan: GAN
    placement: Placement
    resident: bool
    programs: Programs
    record: dict[str, object]
    notes: list[str]


def prepare(
    config: Config, hosts: Hosts, timings: Timings, allow: Allow = None, known: Known | None = None
) -> Prepared:
    """Opens the data, builds the GAN, chooses the devices and traces the programs.

    Args:
        config: what is trained.
        hosts: the processes of the run, which must have the same data.
        timings: gets the time of each phase.
        allow: top-level packages that names may come from besides gan_jax; None: any.
        known: the data in the run's checkpoints; None: it has none yet.

    Raises:
        UserError: something in the config or the data cannot be used.
    """
    data, names = known or (None, ())
    source, _ = as_known(make_source(config, allow), data, names)
    fingerprint = source.fingerprint()  # of the contents, also for a run of gan_jax 0.1
    hosts.agree("data set", fingerprint)
    spec = SampleSpec.of(source)
    timings.phase("data")
    gan = make_gan(config, spec, allow)
    placement = Placement(config)
    check_run(config, source, allow)
    memory = placement.memory_bytes()
    resident: bool = hosts.from_first(lambda: choose_resident(config.data.resident, source, memory))
    programs = Programs(config, gan, spec, placement, resident, source)
    record: dict[str, object] = {
        "config": configs.to_json(config),
        "sample": spec._asdict(),
        "data": fingerprint,
        "environment": placement.environment(),
    }
    if (at := rate(source)) is not None:
        record["rate"] = at  # for `gan-jax sample`, which does not open the data
    lines = notes(config, Declared.of(source)) + placement.notes + late_starts(config, gan)
    mixed = mixes_samples(gan, programs.shapes.state) if config.microbatches > 1 else []
    if mixed:
        seen = ", ".join(mixed)
        lines.append(f"note: with microbatches={config.microbatches}, these see a part of the batch only: {seen}")
    timings.phase("trace")
    return Prepared(config, source, fingerprint, gan, placement, resident, programs, record, lines)
