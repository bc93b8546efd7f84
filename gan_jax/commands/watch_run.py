"""Shows a run in the terminal, or serves its page, until it is finished or the user leaves."""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from ..errors import UserError
from ..metrics import record as records
from ..report.page_server import ADDRESS, make_server
from ..report.progress import Progress, read_config, read_progress
from ..report.run_rows import RunRows
from ..report.terminal_view import run_text

_SECONDS = 2.0
_CLEAR = "\x1b[H\x1b[J"  # to the first line, and remove everything below
_OTHER_SCREEN, _BACK = "\x1b[?1049h", "\x1b[?1049l"


def show(
    workdir: Path,
    port: int | None,
    once: bool,
    stream: TextIO | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Shows a run in the terminal until it is finished. Ctrl-C leaves.

    On a terminal the text is drawn again every 2 seconds, on a second screen; the last one stays on the first.
    Elsewhere it is printed when it has changed.
    """
    if port is not None:
        raise UserError("--port needs --browser: add --browser, or leave --port out")
    out: TextIO = sys.stdout if stream is None else stream
    on_screen = out.isatty() and not once
    _check_folder(workdir)
    if once and not workdir.exists():
        raise UserError(f"there is no run in {workdir}: give its workdir, or leave out --once to wait for it")
    rows, shown = RunRows(workdir), None
    lines, progress = _look(workdir, rows)
    try:
        if on_screen:
            out.write(_OTHER_SCREEN)
        while not once and progress.state != "finished":
            if on_screen:
                width, height = shutil.get_terminal_size()
                shown_lines = [line[: width - 1] for line in lines[: height - 1]]
                print(_CLEAR + "\n".join(shown_lines), file=out, flush=True)
            elif progress._replace(age=None) != shown:  # only its age is another
                print("\n".join(lines), end="\n\n", file=out, flush=True)
                shown = progress._replace(age=None)
            sleep(_SECONDS)
            lines, progress = _look(workdir, rows)
    except KeyboardInterrupt:
        pass
    finally:
        if on_screen:
            out.write(_BACK)
    print("\n".join(lines), file=out, flush=True)
    return 0


def _look(workdir: Path, rows: RunRows) -> tuple[list[str], Progress]:
    """Returns the lines that show a run as it is now, and where it is."""
    logged, note_of_log = rows.read()
    config = read_config(workdir)
    measured, note_of_records = records.read(workdir / records.EVALUATIONS)
    progress = read_progress(workdir, logged, config)
    notes = [note_of_log, note_of_records, _note_of_config(workdir, config)]
    width = shutil.get_terminal_size().columns - 1
    return run_text(workdir, progress, logged, measured, config, notes, width), progress


def _check_folder(workdir: Path) -> None:
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is not a folder: give the workdir of a run")
    if (workdir / "sweep.json").exists():
        raise UserError(
            f"{workdir} is a sweep: give the workdir of a member, such as {workdir / 'members'}/NAME, or look at "
            f"{workdir / 'report.html'}"
        )


def _note_of_config(workdir: Path, config: dict) -> str | None:
    path = workdir / "config.json"
    return f"{path} cannot be read: how long the run is, is not known" if path.exists() and not config else None


def serve(workdir: Path, port: int | None, once: bool = False, usual: int = 0) -> int:
    """Serves the page of a run until Ctrl-C. `port`: None for the `usual` one, or any if that is taken."""
    if once:
        raise UserError("--once is for the terminal: leave out --browser, or open report.html of the workdir")
    if port is not None and not 0 <= port < 2**16:
        raise UserError(f"--port must be from 0 to 65535, got {port}")
    _check_folder(workdir)
    try:
        server = make_server(workdir, usual if port is None else port)
    except OSError as error:
        if port is not None:
            raise UserError(f"--port {port} can't be used ({error.strerror}): choose another") from error
        server = make_server(workdir, 0)
    with server:
        address = f"http://{ADDRESS}:{server.server_address[1]}/"
        try:
            print(f"the page of {workdir}: {address} (Ctrl-C ends it)", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
