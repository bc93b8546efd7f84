"""A person moves the controls of the explorer in a browser that reaches no other machine."""

import base64
import io
import shutil

import numpy as np
import pytest
from PIL import Image

import runs
from browser import Person, Server, served
from gan_jax.latent_space.directions import Directions
from gan_jax.latent_space.kept import keep_directions, read_latents

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("programs")]

NAMED = runs.TINY.replace('"dcgan", width=8', '"dcgan", width=8').replace(
    "    latent=", "    conditional=True,\n    latent="
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return runs.write_config(tmp_path_factory.mktemp("config"), NAMED)


@pytest.fixture(scope="module")
def workdir(trained, tmp_path_factory):
    """A run that keeps two directions under a name."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("kept") / "run")
    vectors = np.eye(2, 8, dtype=np.float32)
    keep_directions(folder, "mine", Directions("sefa", "z", ("left", "right"), vectors, np.ones(2, np.float32)))
    return folder


@pytest.fixture(scope="module")
def server(workdir):
    with served(workdir) as one:
        yield one


@pytest.fixture(scope="module")
def person(server: Server, tmp_path_factory):
    one = Person(tmp_path_factory.mktemp("downloads"))
    try:
        one.open(server.address)
        yield one
        assert not one.complaints()
        strangers = [
            a for a in one.requests() if not a.startswith((server.address, "chrome", "devtools", "about"))
        ]
        assert not strangers
    finally:
        one.close()


@pytest.fixture
def still(server: Server, person: Person) -> str:
    """The image of a page that was just opened."""
    person.open(server.address)
    return person.image()


def pixels(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_the_first_image_is_that_of_seed_0(still, person, trained, tmp_path):
    assert person.caption() == ["seed 0", "class 0", "step 20"]
    assert pixels(still).shape == (8, 8)


def test_each_direction_moves_the_image_and_back(still, person):
    sliders = person.run("return [...document.querySelectorAll('[id^=direction-]')].map(e => e.id)")
    assert len(sliders) == 8
    for slider in (sliders[0], sliders[-1]):
        moved = person.changes(lambda slider=slider: person.type(slider, 2.5))
        assert (pixels(moved) != pixels(still)).any()
        person.becomes(still, lambda slider=slider: person.click(f"#{slider} .reset-button"))
    person.changes(lambda: person.press(sliders[1], "ARROW_RIGHT", 20))
    person.becomes(still, lambda: person.press(sliders[1], "ARROW_LEFT", 20))
    person.changes(lambda: person.type(sliders[2], -3))
    person.becomes(still, lambda: person.click("#reset"))
    assert person.run("return document.querySelector('#direction-2 input[type=number]').value") == "0"


def test_another_set_of_directions_has_its_own_sliders(still, person):
    person.changes(lambda: person.type("direction-0", 2))
    person.becomes(still, lambda: person.choose("directions", "mine"))
    labels = "return [...document.querySelectorAll('.sliders label span')].map(e => e.innerText.trim())"
    person.until(lambda: person.run(labels) == ["left", "right"])
    person.changes(lambda: person.type("direction-1", 2))
    person.click("#kind label:nth-child(2)")
    person.until(lambda: person.driver.find_elements("css selector", "#along input"))
    person.choose("along", "right")
    person.changes(lambda: person.click("#walk"))
    assert "walk along right" in person.caption()
    person.becomes(still, lambda: person.choose("directions", "SeFa"))


def test_the_seed_moves_the_image_and_back(still, person):
    person.changes(lambda: person.type("seed", 7))
    assert person.caption()[0] == "seed 7"
    person.becomes(still, lambda: person.type("seed", 0))
    person.changes(lambda: person.click("#another"))
    seed = person.run("return document.querySelector('#seed input').value")
    assert person.caption()[0] == f"seed {seed}"


def test_a_class_is_chosen_by_its_name(still, person):
    person.changes(lambda: person.choose("class", "7"))
    assert "class 7" in person.caption()
    person.becomes(still, lambda: person.choose("class", "0"))


def test_the_checkpoints_are_a_slider_through_time(still, person):
    person.changes(lambda: person.type("checkpoint", 1))
    assert person.caption()[-1] == "step 10"
    person.becomes(still, lambda: person.type("checkpoint", 2))


def test_a_walk_is_an_animation(still, person):
    person.type("other", 5)
    walked = person.changes(lambda: person.click("#walk"))
    assert walked.startswith("data:image/gif")
    assert "walk to seed 5" in person.caption()
    with Image.open(person.download("GIF")) as image:
        assert image.n_frames > 8  # type: ignore[attr-defined]
    with np.load(person.download("Arrays")) as arrays:
        assert arrays["image"].shape == (32, 8, 8, 1)
        np.testing.assert_array_equal(arrays["image"][0, :, :, 0], pixels(still))
    person.click("#kind label:nth-child(2)")
    person.until(lambda: person.run("return document.querySelector('#along') !== null"))
    person.changes(lambda: person.click("#walk"))
    assert any(word.startswith("walk along ") for word in person.caption())
    person.changes(lambda: person.type("seed", 3))
    assert person.image().startswith("data:image/png")


def test_downloads_are_what_sample_writes(still, person, trained, tmp_path):
    person.changes(lambda: person.type("seed", 4))
    person.changes(lambda: person.choose("class", "3"))
    command = ["sample", trained, "--seed", 4, "--labels", 3, "--count", 1, "--out"]
    assert runs.spawn(*command, tmp_path / "folder").code == 0
    assert runs.spawn(*command, tmp_path / "a.npz").code == 0
    assert person.download("PNG").read_bytes() == (tmp_path / "folder" / "3" / "00000.png").read_bytes()
    with np.load(person.download("Arrays")) as ours, np.load(tmp_path / "a.npz") as theirs:
        assert set(ours.files) == set(theirs.files)
        for name in theirs.files:
            np.testing.assert_array_equal(ours[name], theirs[name])
    (tmp_path / "latents").mkdir()
    (tmp_path / "latents" / "mine.npz").write_bytes(person.download("Latent").read_bytes())
    kept = read_latents(tmp_path, "mine")
    assert (kept.space, kept.step, kept.noise_seed) == ("z", 20, 4)
    assert kept.latents.shape == (1, 8)


def test_an_image_is_found_and_moved(still, person, tmp_path):
    own = Image.fromarray(pixels(person.changes(lambda: person.type("seed", 11)))).resize((32, 32), 0)
    own.save(tmp_path / "own.png")
    person.becomes(still, lambda: person.type("seed", 0))
    found = person.changes(lambda: person.find("#upload input").send_keys(str(tmp_path / "own.png")))
    assert person.caption()[0] == "your image"
    assert "PSNR" in person.text("#uploaded")
    assert person.run("return document.querySelector('#uploaded img').naturalWidth") == 8
    person.changes(lambda: person.type("direction-0", 2))
    person.becomes(found, lambda: person.click("#reset"))
    person.becomes(still, lambda: person.type("seed", 1) or person.choose("class", "0") or person.type("seed", 0))
    assert person.text("#uploaded").strip() == ""


def test_a_bad_upload_gets_a_sentence(still, person, tmp_path):
    (tmp_path / "bad <b>.png").write_bytes(b"no image")
    person.find("#upload input").send_keys(str(tmp_path / "bad <b>.png"))
    person.until(lambda: "bad <b>.png can't be read as an image" in person.text(".toast-wrap"))
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(17 * 2**20)
    person.find("#upload input").send_keys(str(tmp_path / "large.png"))
    person.until(lambda: "large.png is empty, or larger than 16 MiB" in person.text(".toast-wrap"))
    assert person.image() == still


def test_two_people_have_each_their_own_page(still, person, server, tmp_path):
    other = Person(tmp_path)
    try:
        other.open(server.address)
        assert other.image() == still
        theirs = other.changes(lambda: other.type("seed", 8))
        assert person.image() == still
        person.changes(lambda: person.type("direction-1", 2))
        assert other.image() == theirs
        person.type("seed", 8)
        person.becomes(theirs, lambda: person.click("#reset"))
    finally:
        other.close()


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_wider_than_the_window(still, person, width):
    person.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        sizes = person.run(
            "const i = document.querySelector('#stage img').getBoundingClientRect();"
            "return [document.documentElement.scrollWidth, i.left, i.right, i.height]"
        )
    finally:
        person.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert sizes[0] <= width
    assert 0 <= sizes[1] < sizes[2] <= width
    assert sizes[3] > 250


def test_a_token_opens_the_page_once_and_for_all(trained, tmp_path):
    with served(trained, "--token", "--host", "127.0.0.1") as server:
        person = Person(tmp_path)
        try:
            bare = server.address.partition("?")[0]
            person.driver.get(bare)
            assert "needs its token" in person.text("body")
            person.open(server.address)
            person.until(lambda: person.driver.current_url == bare)  # not in the address any more
            person.open(bare)
            person.changes(lambda: person.type("seed", 3))
        finally:
            person.close()


def test_stylegan2_has_truncation_and_moves_in_w(tmp_path):
    call = 'Call("stylegan2", channel_base=64, channel_max=8, {})'
    text = runs.TINY.replace(
        'generator=Call("dcgan", width=8)', f"generator={call.format('mapping_layers=2, w_size=8')}"
    )
    text = text.replace('discriminator=Call("dcgan", width=8)', f"discriminator={call.format('group=4')}")
    workdir = tmp_path / "run"
    outcome = runs.spawn("train", runs.write_config(tmp_path, text), "steps=2", "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    with served(workdir) as server:
        person = Person(tmp_path)
        try:
            person.open(server.address)
            still = person.image()
            assert person.text("#class") == ""
            person.changes(lambda: person.type("truncation", 0.2))
            assert "truncation 0.2" in person.caption()
            person.becomes(still, lambda: person.type("truncation", 1))
            person.changes(lambda: person.type("direction-0", 3))
            with np.load(person.download("Latent")) as latent:
                assert str(latent["space"]) == "w"
            assert not person.complaints()
        finally:
            person.close()
