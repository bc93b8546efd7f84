"""Builds what a config names: the data set, the GAN, and the shapes of their batches."""

import inspect
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import DTypeLike

from ..augment import Augment
from ..checks import frozen_readers
from ..data.source import Source, class_names
from ..errors import UserError, one_line, quoted
from ..gan import GAN, AdaptiveWeight, GANTerm
from ..latents import missing
from ..optimizers import freeze_first
from ..penalties import Term
from ..schedules import half_life, per_update
from ..types import PyTree, Schedule
from .overrides import home_of
from .resolve import Call, keywords, resolve
from .schema import HOMES, Config, ConfigTerm
from .values import is_built


class SampleSpec(NamedTuple):
    """What a run knows of its data: the shape and type of a sample, the number of classes, and their names."""

    shape: tuple[int, ...]
    dtype: DTypeLike
    classes: int | None
    class_names: tuple[str, ...] | None = None

    @staticmethod
    def of(source: Source) -> "SampleSpec":
        return SampleSpec(tuple(source.shape), np.dtype(source.dtype).name, source.classes, class_names(source))

    def names(self) -> tuple[str, ...] | None:
        """Returns the names of the classes, which are numbers if they have no others; None without labels."""
        if self.classes is None:
            return None
        return self.class_names or tuple(map(str, range(self.classes)))


Allow = Iterable[str] | None  # top-level packages, besides gan_jax, that names may come from; None: any


def build(call: Call, home: str, allow: Allow = None, **offered: object) -> Any:
    """Calls the function that `call` names in the field `home`, and returns the result.

    A keyword in `offered` is passed if the function takes it and `call` does not set it.

    Raises:
        UserError: there is no such function, or it refuses its keywords.
    """
    place = HOMES[home_of(home)]
    function = resolve(call.name, place.module, place.attribute, allow=allow)
    known, _ = keywords(function)
    given = call.kwargs
    for name in given:
        if known and name not in known:
            raise UserError(f"{call.name} takes no keyword {name!r}: it takes {', '.join(sorted(known))}")
        if is_built(known.get(name)) and not isinstance(given[name], Call):
            raise UserError(f"{home}.{name} wants the name of a function, got {quoted(given[name])}")
    passed = {k: v for k, v in offered.items() if k in known and k not in given}
    parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if isinstance(p.default, Call)}
    passed |= {k: _built(v, f"{home}.{k}", allow) for k, v in {**defaults, **given}.items()}
    missing = [p.name for p in parameters if p.name in known and p.default is p.empty and p.name not in passed]
    if missing:
        raise UserError(f"{home}={call.name} needs {missing[0]}: say {home}.{missing[0]}=...")
    try:
        built = function(**passed)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise UserError(f"{home}={call.name}: {one_line(error)}") from error
    if built is None:
        raise UserError(f"{home}={call.name} returned nothing: the function must return what it builds")
    return built


def _built(value: object, home: str, allow: Allow) -> object:
    """Returns what the Calls in a value build; a value without one is returned as it is."""
    if isinstance(value, Call):
        return build(value, home, allow)
    return tuple(_built(item, home, allow) for item in value) if isinstance(value, tuple) else value


def make_source(config: Config, allow: Allow = None) -> Source:
    """Returns the data set of a run.

    Raises:
        UserError: it cannot be read, or has no labels though the run is conditional.
    """
    source = build(config.data.source, "data.source", allow)
    if config.conditional and source.classes is None:
        raise UserError(
            f"conditional=true, but {config.data.source.name} has no labels: give it some, or set it to false"
        )
    return source


def _schedule(value: float | Call, home: str, allow: Allow) -> float | Schedule:
    return build(value, home, allow) if isinstance(value, Call) else value


def _optimizer(call: Call, home: str, images_per_update: float, allow: Allow) -> optax.GradientTransformation:
    """Builds an optimizer. Schedules in a config count images; Optax counts updates."""
    passed = {
        name: per_update(build(value, f"{home}.{name}", allow), images_per_update)
        if isinstance(value, Call)
        else value
        for name, value in call.items
    }
    function = resolve(call.name, HOMES[home].module, HOMES[home].attribute, allow=allow)
    try:
        return function(**passed)
    except (TypeError, ValueError) as error:
        raise UserError(f"{home}={call.name}: {error}") from error


def _terms(terms: tuple[ConfigTerm, ...], home: str, allow: Allow) -> tuple[GANTerm, ...]:
    return tuple(
        Term(
            _schedule(term.weight, f"{home}.{i}.weight", allow),
            build(term.penalty, f"{home}.{i}.penalty", allow),
            term.every,
        )
        for i, term in enumerate(terms)
    )


def make_gan(config: Config, spec: SampleSpec, allow: Allow = None) -> GAN:
    """Returns the GAN that `config` describes, for samples of that shape.

    Networks that take them get `shape`, `classes` (None unless the run is conditional), `dtype` and `remat`.

    Raises:
        UserError: a name or a keyword does not exist, or the networks do not fit the data. Or the config has
            `remat`, and a network does not take it. Or a network or a penalty reads frozen variables.
    """
    offered = {
        "shape": tuple(spec.shape),
        "classes": spec.classes if config.conditional else None,
        "dtype": jnp.bfloat16 if config.precision == "bfloat16" else jnp.float32,
        "remat": config.remat,
    }
    if config.remat != "none":
        _check_remat(config, allow)
    augment: Augment = build(config.augment, "augment", allow)
    discriminator = build(config.discriminator, "discriminator", allow, **offered)
    discriminator_tx = _optimizer(
        config.discriminator_optimizer, "discriminator_optimizer", config.batch / config.disc_steps, allow
    )
    if config.freeze_discriminator:
        if not hasattr(discriminator, "image_blocks"):
            raise UserError(
                f"freeze_discriminator is set, but discriminator={config.discriminator.name} does not tell "
                "the order of its blocks: give it a method image_blocks, or set the field to 0"
            )
        discriminator_tx = freeze_first(discriminator_tx, discriminator.image_blocks, config.freeze_discriminator)
    try:
        gan = GAN(
            generator=build(config.generator, "generator", allow, **offered),
            discriminator=discriminator,
            loss=build(config.loss, "loss", allow),
            generator_tx=_optimizer(config.generator_optimizer, "generator_optimizer", config.batch, allow),
            discriminator_tx=discriminator_tx,
            latent=missing if config.inputs else build(config.latent, "latent", allow),
            inputs=build(config.inputs, "inputs", allow) if config.inputs else None,
            generator_weight=_schedule(config.generator_weight, "generator_weight", allow),
            discriminator_weight=_schedule(config.discriminator_weight, "discriminator_weight", allow),
            adaptive_weight=_adaptive(config.adaptive_weight),
            generator_terms=_terms(config.generator_terms, "generator_terms", allow),
            discriminator_terms=_terms(config.discriminator_terms, "discriminator_terms", allow),
            augment=augment,
            ema=half_life(_schedule(config.ema.half_life, "ema.half_life", allow), config.ema.ramp_up),
            disc_steps=config.disc_steps,
            share_latents=config.share_latents,
            update=config.update,
            microbatches=config.microbatches,
            joint_pass=config.joint_pass,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(f"{config.name}: {error}") from error
    if readers := frozen_readers(gan):
        raise UserError(
            f"the {readers[0]} reads frozen variables: gan-jax train gives no frozen variables, call the step "
            "from Python"
        )
    return gan


def _adaptive(path: str) -> AdaptiveWeight | None:
    """Returns the adaptive weight that reads the parameter at this path, such as `out/kernel`."""
    if not path:
        return None

    def last_layer(params: PyTree) -> PyTree:
        for name in path.split("/"):
            if not isinstance(params, dict) or name not in params:
                raise UserError(
                    f"adaptive_weight={path}: the generator has no parameter {name} there; it has "
                    + (", ".join(map(str, params)) if isinstance(params, dict) else "an array")
                )
            params = params[name]
        return params

    return AdaptiveWeight(last_layer)


def _check_remat(config: Config, allow: Allow) -> None:
    for home in ("generator", "discriminator"):
        call: Call = getattr(config, home)
        function = resolve(call.name, HOMES[home].module, HOMES[home].attribute, allow=allow)
        if "remat" not in keywords(function)[0]:
            raise UserError(
                f"remat={config.remat}, but {home}={call.name} takes no keyword remat: add it to that network, or "
                "set remat=none and give it to the other network alone"
            )


def batch_spec(config: Config, gan: GAN, spec: SampleSpec) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of what one step reads, with labels if the run is conditional."""
    lead = (config.batch,) if gan.batches_per_step == 1 else (gan.batches_per_step, config.batch)
    batch = {"image": jax.ShapeDtypeStruct((*lead, *spec.shape), spec.dtype)}
    if config.conditional:
        batch["label"] = jax.ShapeDtypeStruct(lead, jnp.int32)
    return batch
