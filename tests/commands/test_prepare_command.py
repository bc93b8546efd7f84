"""`gan-jax prepare`."""

import json

import pytest

from gan_jax.data import tfds_layout as layout
from runs import call

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


def test_a_ready_set_is_told_once(monkeypatch, tmp_path):
    copy = layout.Copy(tmp_path / "set" / "1.0.0", None, "1.0.0", ("array_record",))
    monkeypatch.setattr(layout, "find_copies", lambda name, data_dir: [copy])
    ready = f"set is ready in {copy.path}\n"
    train = "train with: gan-jax train CONFIG data.source=tfds data.source.name=set"
    assert call("prepare", "set").out == f"{ready}{train}\n"
    copy.path.mkdir(parents=True)
    splits = [{"name": "a", "shardLengths": ["2000", "5"]}, {"name": "test", "shardLengths": ["1"]}]
    (copy.path / "dataset_info.json").write_text(json.dumps({"splits": splits}))
    has = "it has 2,006 images in 2 splits: a 2,005, test 1"
    assert call("prepare", "set").out == f"{ready}{has}\n{train} data.source.split=a\n"
