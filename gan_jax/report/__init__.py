"""What a run shows: log lines, sample grids, charts and a report page."""

from ..pixels import to_uint8 as to_uint8
from .gif import save_gif as save_gif
from .images import grid as grid
from .images import heat_map as heat_map
from .images import picture as picture
from .images import save_png as save_png
from .images import scatter as scatter
from .page import page as page
from .sample_files import clips as clips
