"""A config that uses every kind of field, and a check of error messages."""

import pytest

from gan_jax.config import Call, Config, Term
from gan_jax.errors import UserError

CONFIG = Config(
    name="trial",
    conditional=True,
    generator=Call("dcgan", width=16, channels=(64, 32), norm=None),
    discriminator_terms=(
        Term(10.0, Call("r1"), every=16),
        Term(Call("linear", start=0.0, end=1e-3), Call("gp", target=1.0)),
    ),
    discriminator_optimizer=Call("adam", learning_rate=Call("linear", start=2e-4, end=0.0)),
)


def error_of(function, *args, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert "Traceback" not in message
    return message
