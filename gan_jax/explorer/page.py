"""The page of the explorer: its controls, their places, and what each asks for. Built with Gradio."""

import functools
import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import UserError
from .answers import FEWEST, LARGEST_SEED, MOST, Answers
from .model import REACH, Model
from .upload import MOST_BYTES

SLIDERS = 8  # the most directions of a set that have a slider
_STYLE = Path(__file__).with_name("page.css")
_UPLOAD = '<label class="choose"><input type="file" accept="image/*"><span>Choose an image…</span></label>'
# The file goes to the server as text inside an event, so that the server writes no file.
_SEND = """
element.addEventListener('change', async event => {
  const input = event.target, file = input.files && input.files[0];
  if (!file) return;
  const read = () => new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).replace(/^[^,]*,/, ''));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
  const content = file.size > MOST ? '' : await read();
  input.value = '';
  trigger('send', {name: file.name, content});
});
""".replace("MOST", str(MOST_BYTES))
_SEED: dict[str, Any] = {"precision": 0, "minimum": 0, "maximum": LARGEST_SEED}


class Page:
    """Builds the page of a model."""

    def __init__(self, model: Model):
        self.model, self.answers = model, Answers(model, SLIDERS)
        self.names = list(model.sets)  # of the sets of directions

    def build(self) -> gr.Blocks:
        """Returns the page."""
        name, steps = self.model.run.config.name, self.model.steps
        with gr.Blocks(title=f"{name} · gan_jax", analytics_enabled=False, fill_width=True) as blocks:
            self.start = gr.State(None)
            gr.HTML(f"<header><h1>{html.escape(name)}</h1><p>{self._facts()}</p></header>", elem_classes="head")
            with gr.Row(elem_classes="columns"):
                with gr.Column(elem_classes="left"):
                    self.stage = gr.HTML(elem_id="stage")
                with gr.Column(elem_classes="right"):
                    self._sample_controls(steps)
                    self._direction_controls()
                    with gr.Row(elem_classes="cards"):
                        self._walk_controls()
                        self._upload_controls()
            self._listen(blocks)
        blocks.queue(max_size=64, api_open=False, default_concurrency_limit=1)
        return blocks

    def _facts(self) -> str:
        run = self.model.run
        height, width, channels = self.model.images.shape
        colours = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
        facts = [f"{height} × {width} pixels, {colours}", f"generator {run.config.generator.name}"]
        facts += [f"{len(self.model.names)} classes"] if self.model.names else []
        return " · ".join(map(html.escape, facts))

    # ---- the controls

    def _sample_controls(self, steps: Sequence[int]) -> None:
        names = [(name, number) for number, name in enumerate(self.model.names or ())]
        with gr.Column(elem_classes="card"):
            gr.HTML("<h2>Sample</h2>")
            with gr.Row():
                self.seed = gr.Number(0, label="Seed", elem_id="seed", min_width=110, **_SEED)
                self.label = gr.Dropdown(
                    names, value=0 if names else None, label="Class", visible=bool(names), elem_id="class",
                    filterable=len(names) > 12, min_width=110,
                )  # fmt: skip
                self.another = gr.Button("Another seed", elem_id="another", size="md", min_width=110)
            self.truncation = gr.Slider(
                0, 1, 1, step=0.05 if "w" in self.model.images.spaces else 0.1,  # z needs a program for each
                label="Truncation: less variety for higher quality", elem_id="truncation",
                visible=self.model.truncates,
            )  # fmt: skip
            self.checkpoint = gr.Slider(
                1, max(len(steps), 2), steps.index(self.model.run.step) + 1, step=1, elem_id="checkpoint",
                label=f"Checkpoint, from the oldest (1) to the newest ({len(steps)})", visible=len(steps) > 1,
            )  # fmt: skip

    def _direction_controls(self) -> None:
        first = self.names[0] if self.names else None
        with gr.Column(elem_classes="card", visible=bool(self.names)):
            with gr.Row(elem_classes="titled"):
                gr.HTML("<h2>Directions</h2>")
                self.reset = gr.Button("All to 0", elem_id="reset", size="sm")
            self.directions = gr.Dropdown(
                self.names,
                value=first,
                label="Set of directions",
                visible=len(self.names) > 1,
                elem_id="directions",
            )
            with gr.Column(elem_classes="sliders"):
                self.amounts = [
                    gr.Slider(-REACH, REACH, 0, step=0.1, label=name, visible=bool(name), elem_id=f"direction-{i}")
                    for i, name in enumerate(self._labels(first))
                ]

    def _walk_controls(self) -> None:
        kinds = [("to another seed", "seed"), ("along a direction", "direction")]
        along = self._choices(self.names[0] if self.names else None)
        with gr.Column(elem_classes="card"):
            gr.HTML("<h2>Walk</h2>")
            self.kind = gr.Radio(
                kinds, value="seed", label="From this image", elem_id="kind", visible=bool(along), show_label=False
            )
            self.other = gr.Number(1, label="The other seed", elem_id="other", **_SEED)
            self.along = gr.Dropdown(
                along, value=0 if along else None, label="Direction", visible=False, elem_id="along"
            )
            self.count = gr.Slider(FEWEST, MOST, 32, step=1, label="Images on the way", elem_id="count")
            self.walk = gr.Button("Walk", elem_id="walk", variant="primary", size="md")

    def _upload_controls(self) -> None:
        with gr.Column(elem_classes="card"):
            gr.HTML("<h2>Find your image</h2>")
            self.upload = gr.HTML(html_template=_UPLOAD, js_on_load=_SEND, elem_id="upload")
            self.uploaded = gr.HTML(elem_id="uploaded")

    def _labels(self, directions: str | None) -> list[str]:
        """Returns the labels of the sliders for a set of directions; empty for those without a direction."""
        names = self.model.sets[directions].names if directions and directions in self.model.sets else ()
        return [*names, *[""] * SLIDERS][:SLIDERS]

    def _choices(self, directions: str | None) -> list[tuple[str, int]]:
        return [(name, i) for i, name in enumerate(self._labels(directions)) if name]

    # ---- what they ask for

    def _listen(self, blocks: gr.Blocks) -> None:
        controls = [self.checkpoint, self.seed, self.label, self.truncation, self.directions, *self.amounts]
        chosen = [self.start, *controls]
        # All that changes a control asks for the same event. So only one is under way, and the last one sees all.
        changes = [blocks.load, self.start.change, *(one.change for one in controls)]
        _ask(changes, self._draw, inputs=chosen, outputs=[self.stage, self.start, self.uploaded])
        self.another.click(None, js="() => Math.floor(1e6 * Math.random())", outputs=self.seed)
        self.reset.click(None, js=f"() => Array({SLIDERS}).fill(0)", outputs=self.amounts)
        _ask(self.directions.input, self._change, inputs=self.directions, outputs=[self.along, *self.amounts])
        _ask(self.kind.input, self._show_kind, inputs=self.kind, outputs=[self.other, self.along])
        walk = [*chosen, self.kind, self.other, self.along, self.count]
        _ask(self.walk.click, self.answers.walk, inputs=walk, outputs=self.stage, busy=self.stage)
        found = [self.start, self.uploaded, self.label, self.truncation, *self.amounts]
        _ask(self.upload.send, self._find, inputs=chosen, outputs=found, busy=self.uploaded)

    def _draw(self, *chosen: Any) -> tuple[Any, ...]:
        """Draws the image of the controls, and forgets an upload where a seed has replaced it."""
        image, start = self.answers.draw(*chosen)
        return image, *((gr.skip(), gr.skip()) if start is chosen[0] else (None, ""))

    def _change(self, directions: str) -> tuple[Any, ...]:
        """Shows the sliders of another set of directions, all at 0."""
        names = self._labels(str(directions))
        sliders = [gr.Slider(value=0, label=name, visible=bool(name)) for name in names]
        return gr.Dropdown(self._choices(str(directions)), value=0), *sliders

    def _show_kind(self, kind: str) -> tuple[Any, Any]:
        """Shows what a kind of walk needs."""
        return gr.Number(visible=kind == "seed"), gr.Dropdown(visible=kind == "direction")

    def _find(self, event: gr.EventData, *chosen: Any) -> tuple[Any, ...]:
        """Looks for an uploaded image."""
        return self.answers.find(event._data.get("name"), event._data.get("content"), *chosen)


def look() -> dict[str, Any]:
    """Returns how the page looks, for Gradio. The fonts are those of the reader's system."""
    from gradio.themes import Default

    fonts = ("system-ui", "sans-serif")
    theme = Default(primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=("ui-monospace", "monospace"))
    return {"theme": theme, "css": _STYLE.read_text()}


def _ask(events: Any, function: Callable[..., Any], *, busy: gr.HTML | None = None, **places: Any) -> None:
    """Has events call a function, one call at a time in all; a UserError becomes a note on the page.

    Of what changes while an answer is drawn, only the last is drawn. `busy` shows that a long answer is on its
    way, which isn't begun again before it is there.
    """

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except UserError as error:
            raise gr.Error(html.escape(str(error)), duration=None, print_exception=False) from error

    listen = functools.partial(gr.on, events) if isinstance(events, list) else events
    is_long: dict[str, Any] = {"trigger_mode": "once", "show_progress": "full", "show_progress_on": busy}
    is_short: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}
    # Values come as they are: a field that a person is writing in may be empty, which Gradio would call an error.
    listen(
        call, preprocess=False, **places, concurrency_id="model", concurrency_limit=1, api_visibility="private",
        **(is_short if busy is None else is_long),
    )  # fmt: skip
