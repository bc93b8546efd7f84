"""A source of windows of audio files: those of a folder or of a zip file."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..errors import UserError, one_line
from .audio_files import SUFFIXES, AudioFacts, is_named_audio, mix_channels, open_audio, read_facts
from .containers import Container, Name, open_container
from .file_kinds import describe_left_out
from .image_set import Layout, choose_split, classes_by_folder
from .source import checked_indices, expand_path, hash_parts, reason
from .unchanged import Unchanged

_MOST_WINDOW = 2**26  # samples
_LISTED = 5  # files in one message


def audio(
    path: str,
    window: int = 16_384,
    rate: int | None = None,
    channels: Literal[1, 2] | None = None,
    labels: bool = True,
    split: str | None = None,
    check: Literal["all", "header"] = "all",
) -> "Audio":
    """Returns a source of windows [window, C], float32 in [-1, 1], of the audio files in a folder or zip file.

    WAV, FLAC, Ogg and AIFF files at any depth are read by the package soundfile (`pip install 'gan_jax[audio]'`).
    Windows are cut one after another from the beginning of each file. The rest at its end, and files shorter than
    a window, are left out, and counted in a note. Nothing is resampled: all files must have one rate, and all one
    channel or all two. `rate` reads the files of that rate (in Hz) alone. `channels=1` takes the mean of the
    channels of each file, `channels=2` reads the stereo files alone. `labels` and `split` are those of `folder`:
    the topmost sub-folder of a file is its class.

    `check="all"` decodes every file once; a note counts windows that are silent (no sample above -60 dB) or clip
    (three samples or more at full scale). Samples of floats beyond [-1, 1] are clipped. "header" decodes a window
    when it is used. Raises UserError if files cannot be read (it names them), or do not fit together.
    """
    if not 1 <= window <= _MOST_WINDOW:
        raise UserError(f"window must be 1 to {_MOST_WINDOW:,} samples, not {window:,}")
    container = open_container(expand_path(path))
    names = container.names()
    chosen = choose_split(container, [name for name in names if is_named_audio(name)], split, is_named_audio)
    facts = read_facts(container, chosen.names, window, decode=check == "all", mix=channels == 1)
    _check(container, chosen.names, facts, names)
    kept, notes = _alike(container, chosen.names, facts, rate, channels)
    long = [index for index in kept if facts[index].samples >= window]
    short = [chosen.names[index] for index in kept if facts[index].samples < window]
    if not long:
        longest = max(facts[index].samples for index in kept)
        if longest == 0:
            raise UserError(f"the audio files under '{one_line(container.path)}' hold no samples: replace them")
        raise UserError(
            f"all audio files under '{one_line(container.path)}' are shorter than a window: the longest has "
            f"{longest:,} samples; pass data.source.window={longest} or less"
        )
    others = [(name, "") for name in names if not is_named_audio(name)]
    notes = [*chosen.notes, *describe_left_out(others, "audio"), *notes]
    if labels:
        layout = Layout(chosen.names, notes=notes, depth=chosen.depth)
        layout = classes_by_folder(container, layout, "audio files", long)
    else:
        layout = Layout([chosen.names[index] for index in long], notes=notes)
    return Audio(container, layout, [facts[index] for index in long], window, channels, short)


class Audio:
    """A source of windows; `audio` makes it.

    Attributes:
        rate: samples in a second.
        label: int32 `[N]`, or None.
    """

    def __init__(
        self,
        container: Container,
        layout: Layout,
        facts: Sequence[AudioFacts],
        window: int,
        channels: int | None,
        short: Sequence[Name],
    ):
        self._container, self._names, self._facts, self._short = container, layout.names, facts, short
        self._notes = layout.notes
        self.rate, self._window = facts[0].rate, window
        self.shape, self.dtype = (window, channels or facts[0].channels), np.dtype(np.float32)
        counts = np.array([known.samples // window for known in facts])
        self._first = np.concatenate([[0], np.cumsum(counts)])  # the first row of each file, and the end
        self.class_names = layout.class_names
        self.classes = None if layout.class_names is None else len(layout.class_names)
        self.label = None if layout.label is None else np.repeat(layout.label, counts)
        digests = [known.digest for known in facts]
        self._unchanged = Unchanged(container, layout.names, digests)
        label = [] if layout.label is None else [layout.label.tobytes(), str(self.classes)]
        self._content_hash = hash_parts([*digests, *label])

    def __len__(self) -> int:
        return int(self._first[-1])

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, len(self))
        files = np.searchsorted(self._first, indices, side="right") - 1
        windows = np.empty((len(indices), *self.shape), np.float32)
        for file in np.unique(files):  # each is opened once
            places = np.nonzero(files == file)[0]
            self._read_file(int(file), places, indices[places] - self._first[file], windows)
        rows = {"image": windows}
        if self.label is not None:
            rows["label"] = self.label[indices]
        return rows

    def _read_file(self, file: int, places: np.ndarray, numbers: np.ndarray, windows: np.ndarray) -> None:
        """Reads the windows with these numbers of one file to their places."""
        name = self._names[file]
        shown = one_line(self._container.path.joinpath(*name))
        try:
            is_same = self._unchanged.is_same(file)
            with open_audio(self._container.open(name)) as opened:
                for place, number in zip(places.tolist(), numbers.tolist()):
                    opened.seek(number * self._window)
                    samples = opened.read(self._window, dtype="float32", always_2d=True)
                    if self.shape[1] == 1:
                        samples = mix_channels(samples)
                    windows[place] = np.clip(samples, -1, 1)
            if not np.isfinite(windows[places]).all():
                raise ValueError("it has samples that are not finite")
        except Exception as error:  # soundfile may raise any exception for damaged bytes
            raise UserError(f"'{shown}' cannot be read: {reason(error)}") from error
        if not is_same:
            raise UserError(f"'{shown}' has changed since the run began: do not change files during a run")

    def notes(self) -> list[str]:
        kind = "mono" if self.shape[1] == 1 else "stereo"
        total = sum(known.samples for known in self._facts)
        rest = total - len(self) * self._window
        text = f"note: {_files(len(self._facts))} of {self.rate:,} Hz, {kind}, "
        text += f"give windows of {self._window:,} samples ({self._window / self.rate:.3g} s), one after another"
        if rest:
            text += f"; {rest / total:.1%} of the sound, at the ends of files, is left out"
        if self._short:
            text += f"; {_files(len(self._short))} shorter than a window: left out ({_listed(self._short)})"
        return [*self._notes, text, *self._quality()]

    def _quality(self) -> list[str]:
        """Returns a note on windows that are silent or clip, and on samples beyond full scale."""
        silent = sum(known.silent for known in self._facts)
        clipped = sum(known.clipped for known in self._facts)
        peak = max(known.peak for known in self._facts)
        words = [f"{silent:,} {'is' if silent == 1 else 'are'} silent (below -60 dB)"] if silent else []
        words += (
            [f"{clipped:,} clip{'s' if clipped == 1 else ''} (three samples or more at full scale)"]
            if clipped
            else []
        )
        text = [f"of {_number(len(self), 'window')} {' and '.join(words)}"] if words else []
        text += [f"samples go up to {peak:.4g} and are clipped to 1"] if peak > 1 else []
        return [f"note: {'; '.join(text)}"] if text else []

    def fingerprint(self) -> str:
        samples, channels = self.shape
        return f"audio n={len(self)} {samples}x{channels} {self.rate} Hz #{self._content_hash}"


def _check(
    container: Container, names: Sequence[Name], facts: Sequence[AudioFacts], others: Sequence[Name]
) -> None:
    """Raises UserError if there are no audio files, or some cannot be read."""
    shown = one_line(container.path)
    if not names:
        left = f"; {_files(len(others))} there, such as {one_line('/'.join(others[0]))}" if others else ""
        raise UserError(f"there are no audio files under '{shown}' (looked for {', '.join(SUFFIXES)}){left}")
    broken = [f"{one_line('/'.join(name))} ({known.error})" for name, known in zip(names, facts) if known.error]
    if broken:
        more = f", and {len(broken) - _LISTED:,} more" if len(broken) > _LISTED else ""
        raise UserError(
            f"{len(broken)} of the {len(names)} audio files under '{shown}' cannot be read: "
            f"{', '.join(broken[:_LISTED])}{more}; remove or replace them"
        )


def _alike(
    container: Container,
    names: Sequence[Name],
    facts: Sequence[AudioFacts],
    rate: int | None,
    channels: int | None,
) -> tuple[list[int], list[str]]:
    """Returns which files are read, and a note on those that are not.

    Raises:
        UserError: they differ in their rates or channels, or none is as it is asked for.
    """
    shown, notes = one_line(container.path), list[str]()
    kept = list(range(len(facts)))
    for what, unit, asked in (("rate", "Hz", rate), ("channels", "channel", channels if channels == 2 else None)):
        counts = Counter(getattr(facts[index], what) for index in kept)
        found = ", ".join(f"{_number(value, unit)}: {_files(count)}" for value, count in sorted(counts.items()))
        if asked is not None:
            left = [index for index in kept if getattr(facts[index], what) != asked]
            kept = [index for index in kept if getattr(facts[index], what) == asked]
            if not kept:
                raise UserError(f"no audio file under '{shown}' has {_number(asked, unit)}: there are {found}")
            if left:
                listed = _listed([names[index] for index in left])
                notes.append(f"note: {_files(len(left))} without {_number(asked, unit)}: left out ({listed})")
        elif len(counts) > 1 and (what == "rate" or channels is None):
            usual = counts.most_common(1)[0][0]
            alone = f"data.source.rate={usual} to read the files of that rate alone"
            mixed = "data.source.channels=1 to take the mean of the channels, or 2 to read stereo files alone"
            raise UserError(
                f"the audio files under '{shown}' differ ({found}), and nothing is resampled here: convert them, "
                f"or pass {alone if what == 'rate' else mixed}"
            )
    if channels is None and (many := facts[kept[0]].channels) > 2:
        raise UserError(
            f"the audio files under '{shown}' have {many:,} channels, and samples are mono or stereo: pass "
            "data.source.channels=1 to take their mean, or convert the files"
        )
    return kept, notes


def _files(count: int) -> str:
    return _number(count, "file")


def _number(count: int, unit: str) -> str:
    """Returns the number and its unit, such as "2 files" or "8,000 Hz"."""
    return f"{count:,} {unit}{'' if count == 1 or unit == 'Hz' else 's'}"


def _listed(names: Sequence[Name]) -> str:
    shown = [one_line("/".join(name)) for name in names[:_LISTED]]
    return ", ".join([*shown, *([f"{len(names) - _LISTED:,} more"] if len(names) > _LISTED else [])])
