"""Chooses the features of a run: those that the user names now, or those of its config."""

import dataclasses

from ...config import Call, Config
from ...config.build import Allow, build
from ...data.source import Mirrored, Source
from ...data.stacked import Stacked
from ...errors import UserError
from . import efficientnet_lite0, inception
from .classifier import Classifier, check_source, stacked
from .classifier_training import Settings, check_count
from .extractor import Extractor


def unmirrored(source: Source) -> Source:
    """Returns the source without the mirror images."""
    return source.source if isinstance(source, Mirrored) else source


def make_extractor(call: Call, source: Source, allow: Allow = None) -> Extractor:
    """Builds the extractor that `call` names in `gan_jax.metrics.features`.

    A classifier is trained once on the source's own classes, and cached. For a stacked source it is trained on the
    single images, and reads one channel at a time.
    """
    plain = unmirrored(source)
    if not isinstance(plain, Stacked):
        return build(call, "metrics.features", allow, source=plain)
    extractor = build(call, "metrics.features", allow, source=plain.source)
    return stacked(extractor) if isinstance(extractor, Classifier) else extractor


def choose_extractor(requested: Call | None, config: Config, source: Source, allow: Allow) -> Extractor:
    """Builds the features that the user requests or, if there are none, those of the run's config.

    The user may name any function. The config was read from a workdir, so it is restricted to `allow`.
    """
    if len(source.shape) != 3:  # before features are named, which can't help then
        raise UserError(f"metrics need images, but the data have samples of shape {tuple(source.shape)}")
    if requested is not None:
        return make_extractor(requested, source)
    return make_extractor(config.metrics.features, source, allow)


def check_features(call: Call, source: Source) -> None:
    """Checks before a long run that its features can be computed.

    Raises:
        UserError: the data are not images, have no classes to train a classifier on, or weights are missing.
    """
    plain = unmirrored(source)
    if len(plain.shape) != 3:
        shape = tuple(plain.shape)
        raise UserError(f"metrics need images, but the data have samples of shape {shape}: set metrics.every=0")
    if call.name == "classifier":
        single = plain.source if isinstance(plain, Stacked) else plain
        check_source(single)
        known = {field.name for field in dataclasses.fields(Settings)}
        try:
            check_count(single, Settings(**{k: v for k, v in call.kwargs.items() if k in known}))
        except (TypeError, ValueError) as error:
            raise UserError(f"metrics.features=classifier: {error}") from error
    elif call.name == "efficientnet_lite0":
        efficientnet_lite0.find(call.kwargs.get("weights"))
    elif call.name == "inception":
        inception.find(call.kwargs.get("weights"))
