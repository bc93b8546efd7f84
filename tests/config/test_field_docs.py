"""The documentation of a config's fields, as read from the source."""

import dataclasses

from gan_jax import config as configs
from gan_jax.config import Call, Config, Data, field_docs


def test_every_field_has_one():
    docs = field_docs()
    indexed = dataclasses.replace(Config(name="a"), data=Data(source=Call("digits")))
    paths = {line.partition(" = ")[0] for line in configs.to_text(indexed).splitlines()}
    calls = {path for path in paths if path.rpartition(".")[0] in ("latent", "generator_optimizer")}
    calls |= {path for path in paths if path.startswith("discriminator_optimizer.")}
    assert paths - calls <= set(docs)
    for path, text in docs.items():
        first = text.splitlines()[0]
        assert first.endswith("."), path
        assert 10 < len(first) <= 85, path
    groups = [one for one in vars(configs.schema).values() if dataclasses.is_dataclass(one) and one is not Call]
    assert len(docs) >= sum(len(dataclasses.fields(group)) for group in groups)


def test_its_last_line_is_the_default():
    docs = field_docs()
    assert docs["ema.half_life"].splitlines()[-1] == "Default: 10000.0."
    assert docs["latent"].splitlines()[-1] == "Default: normal with size=100."
    assert docs["health.returns"].splitlines()[1] == ""  # a longer text is kept whole
    assert "Default" not in docs["name"]
