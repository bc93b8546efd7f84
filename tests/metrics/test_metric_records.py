"""Records of metrics: their text, their JSON form and their file."""

import json

import numpy as np
import pytest

from gan_jax.errors import UserError
from gan_jax.metrics import record as records
from gan_jax.metrics.record import Record


def record(**changes):
    fields = dict(
        metric="frechet",
        value=12.3412,
        features="efficientnet_lite0",
        weights="ab12cd34ef567890",
        resize="64 px bilinear antialias",
        reference="digits 8x8x1 #0123456789ab",
        split="train",
        reference_count=60000,
        generated_count=10000,
        seed=0,
    )
    return Record(**{**fields, **changes})


def test_text():
    assert record().text() == (
        "frechet 12.34: 10000 generated images against 60000 real images of split train, seed 0, features "
        "efficientnet_lite0, weights ab12cd, resize 64 px bilinear antialias"
    )
    kernel = record(
        metric="kernel",
        value=0.00123456,
        error=0.000231,
        error_meaning="std over 100 subsets of 1000",
        resize="none",
        quantisation="float32",
        step=300,
        options={"degree": 3},
        notes=("the classifier saw these images",),
    )
    assert kernel.text() == (
        "kernel 1.235e-03 ± 2.310e-04 (std over 100 subsets of 1000): 10000 generated images against 60000 real "
        "images of split train, seed 0, step 300, features efficientnet_lite0, weights ab12cd, quantisation "
        "float32, degree 3; note: the classifier saw these images"
    )


@pytest.mark.parametrize("value", [0.1 + 0.2, 0.0, -1e-5, float("inf"), np.float32(1 / 3)])
def test_round_trip(value):
    """Values are the same to the last bit after strict JSON."""
    kept = record(
        value=value, error=1e-3, error_meaning="std", step=7, options={"k": 5, "centre": (1, 2)}, notes=["a"]
    )
    text = json.dumps(kept.to_json(), allow_nan=False)
    assert Record.from_json(json.loads(text)) == kept
    assert kept.versions["gan_jax"]
    assert Record.from_json({**json.loads(text), "of_a_later_version": 1}) == kept


def test_an_error_needs_its_meaning():
    with pytest.raises(ValueError, match="its meaning belong together"):
        record(error=0.1)


def test_fields_that_are_no_record():
    with pytest.raises(UserError, match="not a record of a metric"):
        Record.from_json({"metric": "frechet"})
    with pytest.raises(UserError, match="not a record of a metric"):
        Record.from_json({**record().to_json(), "value": "much"})


def test_append_and_read(tmp_path):
    """An incomplete line stays alone: the record after it is complete."""
    path = tmp_path / "run" / "metrics_evaluated.jsonl"
    first, second = record(), record(step=5, value=float("nan"))
    records.append(path, first)
    with open(path, "a") as file:
        file.write('{"metric": "frech')
    records.append(path, second)
    records.append(path, first)
    found, note = records.read(path)
    assert "line 2" in (note or "")
    assert [r.step for r in found] == [None, 5, None]
    assert found[0] == found[2] == first
    assert np.isnan(found[1].value)
    assert len(path.read_text().splitlines()) == 4
    assert records.read(tmp_path / "none.jsonl") == ([], None)
