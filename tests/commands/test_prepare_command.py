"""`gan-jax prepare`."""

import pytest

from gan_jax.data import tfds_layout as layout
from runs import call

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


def test_a_ready_set_is_told_once(monkeypatch, tmp_path):
    copy = layout.Copy(tmp_path / "set" / "1.0.0", None, "1.0.0", ("array_record",))
    monkeypatch.setattr(layout, "find_copies", lambda name, data_dir: [copy])
    assert call("prepare", "set").out == f"set is ready in {copy.path}\n"
