"""Sample grids, scatter plots, heat maps, PNG and GIF files, charts and the report page."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from gan_jax import pixels, report
from gan_jax.config import Call, Config, Term, to_json
from gan_jax.report import images as report_images
from gan_jax.report.chart import line_chart, ticks
from gan_jax.report.writer import Writer


def test_to_uint8():
    values = np.array([-1.0, 1.0, 0.0, -3.0, 3.0, np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(pixels.to_uint8(values), [0, 255, 128, 0, 255, 0, 255, 0])
    every = np.arange(256, dtype=np.uint8)
    assert pixels.to_uint8(every) is every
    np.testing.assert_array_equal(pixels.to_uint8(every / np.float32(127.5) - 1), every)


def test_grid_layout_to_the_pixel():
    images = np.array([10, 20, 30], np.uint8).reshape(3, 1, 1, 1) * np.ones(
        (1, 1, 2, 1), np.uint8
    )  # 1 high, 2 wide
    grid = report.grid(images, columns=2, pad=1, min_side=1)
    w = 255
    wanted = [
        [w, w, w, w, w, w, w],
        [w, 10, 10, w, 20, 20, w],
        [w, w, w, w, w, w, w],
        [w, 30, 30, w, w, w, w],
        [w, w, w, w, w, w, w],
    ]
    assert grid.dtype == np.uint8
    np.testing.assert_array_equal(grid, np.repeat(np.array(wanted)[..., None], 3, axis=-1))


def test_grid_enlarges_small_images_by_whole_pixels():
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)
    grid = report.grid(images)
    assert grid.shape == (64 * 8 + 9 * 2, 64 * 8 + 9 * 2, 3)
    last = grid[-66:-2, -66:-2]
    np.testing.assert_array_equal(last[::8, ::8], images[63])
    np.testing.assert_array_equal(last[7::8, 7::8], images[63])
    assert report.grid(np.zeros((5, 64, 64, 1))).shape == (2 * 192 + 6, 3 * 192 + 8, 3)
    assert report.grid(np.zeros((64, 64, 64, 3))).shape == (8 * 64 + 18, 8 * 64 + 18, 3)
    with pytest.raises(ValueError, match="N > 0"):
        report.grid(np.zeros((0, 8, 8, 1)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_grid_takes_any_channels(channels):
    images = np.full((1, 2, 2, channels), 7, np.uint8)
    pixel = report.grid(images, pad=0, min_side=1)[0, 0]
    assert list(pixel) == [7, 7, 0 if channels == 2 else 7]


def test_scatter_draws_points_where_they_are():
    points = np.array([[1.0, 1.0], [-1.0, 0.0], [50.0, 0.0], [np.nan, 0.0]])
    plot = report.scatter(points, extent=(-2, 2, -2, 2)).astype(int)
    assert plot.shape == (512, 512, 3)
    blue = plot[..., 2] - plot[..., 0] > 30
    inner = 512 - 2 * 36
    at = {(36 + inner // 4, 36 + inner * 3 // 4), (36 + inner // 2, 36 + inner // 4)}  # row, column
    assert all(blue[row, column] for row, column in at)
    assert blue.sum() == 2 * 21  # two dots of radius 2: points outside, or not finite, are left out
    twice = report.scatter(np.repeat(points[:1], 2, axis=0), extent=(-2, 2, -2, 2))
    assert twice[36 + inner // 4, 36 + inner * 3 // 4].sum() < plot[36 + inner // 4, 36 + inner * 3 // 4].sum()


def test_scatter_extent_and_centers():
    centers = np.array([[2.0, 0.0], [-2.0, 0.0]])
    plot = report.scatter(np.zeros((0, 2)), centers=centers)
    inner = 512 - 2 * 36
    assert tuple(plot[256, round(36 + inner * 5 / 6)]) == report_images.CENTER  # 2 of [-3, 3]
    far = report.scatter(np.array([[1e6, 1e6], [-1e6, 1e6]]))
    assert ((far[..., 2].astype(int) - far[..., 0]) > 30).sum() == 2 * 21
    assert report.scatter(np.zeros((3, 2))).shape == (512, 512, 3)


def test_heat_map():
    heat = report.heat_map(np.array([[0.0, 2.0], [-2.0, np.nan]]), min_side=2)
    wanted = [[(255, 255, 255), report_images.CENTER], [report_images.POINT, (128, 128, 128)]]
    np.testing.assert_array_equal(heat, wanted)


def test_picture_chooses_by_shape():
    draw = np.random.default_rng(0).uniform(-1, 1, (6, 3, 3, 1))
    np.testing.assert_array_equal(report.picture(draw), report.grid(draw))
    np.testing.assert_array_equal(report.picture(draw[..., 0]), report.grid(draw))
    points = draw.reshape(-1, 2)
    np.testing.assert_array_equal(report.picture(points), report.scatter(points))
    vectors = draw.reshape(6, 9)
    np.testing.assert_array_equal(report.picture(vectors), report.heat_map(vectors))


# ---- files


def save_frames(folder, values, size=8):
    paths = [folder / f"samples/step_{i:08}.png" for i in range(len(values))]
    for path, value in zip(paths, values):
        report.save_png(path, np.full((size, size, 3), value, np.uint8))
    return paths


def test_save_png_is_exact_and_leaves_nothing_else(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = tmp_path / "new/a.png"
    report.save_png(path, array)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), array)
    assert list(path.parent.iterdir()) == [path]


def test_gif_has_every_frame_in_one_palette_and_holds_the_last(tmp_path):
    values = [0, 60, 120, 180, 240]
    path = tmp_path / "samples.gif"
    report.save_gif(path, save_frames(tmp_path, values), 0.1)
    with Image.open(path) as gif:
        assert gif.n_frames == 5  # type: ignore[attr-defined]
        got, durations = [], []
        for index in range(5):
            gif.seek(index)
            got.append(int(np.asarray(gif.convert("RGB"))[0, 0, 0]))
            durations.append(gif.info["duration"])
        assert gif.info["loop"] == 0
    assert got == values
    assert durations == [100, 100, 100, 100, 2000]
    assert len(_palettes(path.read_bytes())) == 1


def _palettes(data: bytes) -> set[bytes]:
    """Reads the blocks of a GIF and returns its colour tables."""
    at = 13 + (3 << ((data[10] & 7) + 1))
    found = {data[13:at]}
    while data[at] != 0x3B:
        if data[at] == 0x21:  # an extension: its label, then sub-blocks
            at += 2
        else:
            flags = data[at + 9]
            size = (3 << ((flags & 7) + 1)) if flags >> 7 else 0
            found |= {data[at + 10 : at + 10 + size]} if size else set()
            at += 11 + size
        while data[at]:
            at += data[at] + 1
        at += 1
    return found


def test_gif_picks_frames_evenly_and_of_one_size(tmp_path):
    paths = save_frames(tmp_path, range(0, 200, 2))
    path = tmp_path / "samples.gif"
    report.save_gif(path, paths, 0.1, most=12)
    with Image.open(path) as gif:
        assert gif.n_frames == 12  # type: ignore[attr-defined]
    report.save_png(paths[0], np.zeros((4, 4, 3), np.uint8))  # as after a change of `sample.count`
    report.save_gif(path, paths[:3], 0.1)
    with Image.open(path) as gif:
        assert gif.n_frames == 2  # type: ignore[attr-defined]
        assert gif.size == (8, 8)
    with pytest.raises(ValueError, match="at least one"):
        report.save_gif(path, [], 0.1)


# ---- the page


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-0.13, 0.31, [-0.1, 0, 0.1, 0.2, 0.3]),
        (0, 1000, [0, 200, 400, 600, 800, 1000]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round(low, high, wanted):
    np.testing.assert_allclose(ticks(low, high), wanted, atol=1e-12)


def test_line_chart_has_a_gap_where_there_is_no_value():
    chart = line_chart({"a<b": [(0, 1.0), (1, 2.0), (2, None), (3, 1.5)], "flat": [(0, 1.0)]}, "step", "loss")
    tree = ElementTree.fromstring(chart)  # well-formed, escaped
    first, flat = (path.get("d") or "" for path in tree.iter("path"))
    assert (first.count("M"), first.count("L")) == (2, 1)
    assert (flat.count("M"), flat.count("L")) == (1, 0)
    assert [title.text for title in tree.iter("title")][:2] == ["a<b 1 at step 0", "a<b 2 at step 1"]
    assert {"step", "loss"} <= {text.text for text in tree.iter("text")}
    assert "no finite values of loss" in line_chart({"a": [(0, None)]}, "step", "loss")


def test_a_long_line_chart_keeps_its_spikes():
    values = [(x, 1.0) for x in range(10_000)]
    values[4321] = (4321, 77.0)
    chart = line_chart({"a": values}, "step", "loss")
    assert "a 77 at step 4321" in chart
    assert chart.count("<circle") <= 450


def run_in(workdir):
    config = Config(name="rings <&>", discriminator_terms=(Term(10.0, Call("r1")),))
    (workdir / "config.json").write_text(json.dumps(to_json(config)))
    with open(workdir / "log.txt", "w") as stream:
        log = Writer(workdir, start_step=0, total_steps=90, images_per_step=64, stream=stream)
        for step in range(10, 100, 10):
            values = {
                "loss/generator": 1 / step,
                "loss/discriminator": 2.0,
                "logits/real": 0.3,
                "nonfinite": 0,
            }
            penalty = float("nan") if step == 50 else 0.1
            log.write(step, {**values, "logits/fake": -0.3, "penalty/r1": penalty, "grad_norm/generator": 1.0})
        log.close()
    report.save_gif(workdir / "samples.gif", save_frames(workdir, [0, 90, 180]), 0.1)


def test_page_contains_the_run(tmp_path):
    run_in(tmp_path)
    path = report.page(tmp_path)
    text = path.read_text("utf-8")
    assert path == tmp_path / "report.html"
    assert text.count("<svg") == 4
    for figure in ("Losses", "Logits", "Penalties", "Gradient norms"):
        assert f"<h2>{figure}</h2>" in text
    assert "loss/generator 0.1 at step 10" in text
    assert 'src="samples/step_00000002.png"' in text
    assert 'src="samples.gif"' in text
    assert "rings &lt;&amp;&gt;" in text
    assert "<&>" not in text
    assert "<th>discriminator_optimizer</th><td>adam(b1=0.5, learning_rate=0.0002)</td>" in text
    assert "<th>discriminator_terms.0.weight</th><td>10.0</td>" in text
    assert "http" not in text
    assert "<script" not in text
    assert not list(tmp_path.glob("*.tmp"))


def test_page_of_an_empty_or_damaged_workdir(tmp_path):
    assert "no metrics yet" in report.page(tmp_path).read_text()
    (tmp_path / "config.json").write_text('{"name": "a", ')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss/generator": 2.0}\n{"step": 2, "lo')
    text = report.page(tmp_path).read_text()
    assert text.count("<svg") == 1
    assert "loss/generator 2 at step 1" in text
