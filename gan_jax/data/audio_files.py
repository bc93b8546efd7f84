"""Opens audio files with soundfile, and says once what each holds."""

import dataclasses
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import UserError
from .containers import Container, Name
from .facts import Memory, read_once
from .source import reason
from .unchanged import hash_opened
from .waiting import check_stop

if TYPE_CHECKING:
    from soundfile import SoundFile

INSTALL = "pip install 'gan_jax[audio]'"
SUFFIXES = (".wav", ".wave", ".flac", ".ogg", ".oga", ".aif", ".aiff")
_FULL_SCALE = 1 - 2**-15  # the largest sample of 16 bits; more bits hold slightly more
_FULL_SCALES = {"PCM_U8": 1 - 2**-7, "PCM_S8": 1 - 2**-7, "ULAW": 32124 / 2**15, "ALAW": 32256 / 2**15}
SILENCE = 1e-3  # -60 dB
_CLIPS = 3  # samples at full scale in a window, from which on it clips
_READ = 2**20  # samples of all channels at a time
_FORMAT = 2  # raised by every change of what is remembered
_CUT = re.compile(r"^ ?(?:data|SSND) : (\d+) \(should be (\d+)\)$", re.MULTILINE)  # of WAV and AIFF
_UNKNOWN = 2**31 - 2**12  # bytes: a program that writes to a pipe states this size or a larger one


@dataclass(frozen=True)
class AudioFacts:
    """What is known of a file.

    Attributes:
        digest: hash of its content.
        rate: in Hz.
        channels: 1 is mono, 2 is stereo.
        samples: of one channel.
        silent, clipped: the number of windows that are, see `audio`; 0 if it was not decoded.
        peak: the largest absolute sample; 0 if it was not decoded. This and the numbers before are those of the
            mean of the channels, if that is what is read.
        error: why it cannot be read; empty: it can.
    """

    digest: str = ""
    rate: int = 0
    channels: int = 0
    samples: int = 0
    silent: int = 0
    clipped: int = 0
    peak: float = 0.0
    error: str = ""


def soundfile() -> ModuleType:
    """Returns the package soundfile. Raises UserError if it is not installed."""
    try:
        import soundfile

        return soundfile
    except (ImportError, OSError) as error:  # OSError: the C library is missing
        raise UserError(f"data.source=audio needs soundfile ({reason(error)}): {INSTALL}") from error


def is_named_audio(name: Name) -> bool:
    """Returns whether the ending says that it is an audio file that is read."""
    return name[-1].lower().endswith(SUFFIXES)


def open_audio(file: Path | BinaryIO) -> "SoundFile":
    """Opens an audio file that `Container.open` gave. Raises ValueError, or an error of soundfile's."""
    if isinstance(file, Path) and not stat.S_ISREG(file.stat().st_mode):
        raise ValueError("it is not a regular file")
    return soundfile().SoundFile(str(file) if isinstance(file, Path) else file)


def read_facts(
    container: Container, names: Sequence[Name], window: int, *, decode: bool, mix: bool = False
) -> list[AudioFacts]:
    """Returns the facts of each file, on all cores. Those that are remembered are not read again.

    Without `decode` only the headers are read, besides the bytes for the hash. `mix`: the samples are used as the
    mean of their channels, which is judged.
    """
    package = soundfile()
    versions = f"{package.__version__} {package.__libsndfile_version__}"
    how = f"window={window}{' mix' if mix else ''}" if decode else "header"
    memory = Memory(f"audio {_FORMAT} {versions} {how}", AudioFacts)
    return read_once(container, names, memory, lambda name: _examine(container, name, window, decode, mix))


def mix_channels(samples: np.ndarray) -> np.ndarray:
    """Returns the mean of the channels, [T, 1], of samples [T, C]."""
    return samples.mean(axis=1, keepdims=True)


def _examine(container: Container, name: Name, window: int, decode: bool, mix: bool) -> AudioFacts:
    known = AudioFacts()
    try:
        known = AudioFacts(hash_opened(container.open(name)))
        with open_audio(container.open(name)) as file:
            _check_whole(file)
            known = dataclasses.replace(known, rate=file.samplerate, channels=file.channels, samples=file.frames)
            return _decoded(file, known, window, mix) if decode else known
    except Exception as error:  # soundfile may raise any exception for damaged bytes
        return dataclasses.replace(known, error=reason(error) or type(error).__name__)


def _check_whole(file: "SoundFile") -> None:
    """Raises ValueError if the file is shorter than its header says, which libsndfile only mentions in its log."""
    cut = _CUT.search(file.extra_info)
    if cut and int(cut[2]) < int(cut[1]) < _UNKNOWN:
        raise ValueError(f"it ends after {int(cut[2]):,} of {int(cut[1]):,} bytes of sound")


def _decoded(file: "SoundFile", known: AudioFacts, window: int, mix: bool) -> AudioFacts:
    """Adds what only the samples say. Raises ValueError if they are not all there, or not finite."""
    step = window * max(1, _READ // (window * file.channels))
    full = _FULL_SCALES.get(file.subtype, _FULL_SCALE)
    silent = clipped = count = 0
    peak = 0.0
    for block in file.blocks(step, dtype="float32", always_2d=True):
        check_stop()
        size = np.abs(mix_channels(block) if mix else block)
        if not np.isfinite(block_peak := float(size.max(initial=0))):
            raise ValueError("it has samples that are not finite")
        peak, count = max(peak, block_peak), count + len(block)
        windows = size[: len(size) - len(size) % window].reshape(-1, window * size.shape[1])
        if len(windows):
            silent += int((windows.max(1) < SILENCE).sum())
            clipped += int(((windows >= full).sum(1) >= _CLIPS).sum())
    if count != known.samples:
        raise ValueError(f"it ends after {count:,} of {known.samples:,} samples")
    return dataclasses.replace(known, silent=silent, clipped=clipped, peak=peak)
