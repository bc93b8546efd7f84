"""A run's config: its fields, the files and overrides that set them, and the functions that its names mean."""

from .field_docs import field_docs as field_docs
from .files import load as load
from .overrides import override as override
from .resolve import Call as Call
from .resolve import Home as Home
from .resolve import choices as choices
from .resolve import resolve as resolve
from .resume import NOT_SET as NOT_SET
from .resume import check_resume as check_resume
from .resume import data_differences as data_differences
from .resume import differences as differences
from .schema import HOMES as HOMES
from .schema import Checkpoint as Checkpoint
from .schema import Config as Config
from .schema import Data as Data
from .schema import Ema as Ema
from .schema import Health as Health
from .schema import Log as Log
from .schema import Metrics as Metrics
from .schema import Parallel as Parallel
from .schema import Sample as Sample
from .schema import Term as Term
from .serialize import from_json as from_json
from .serialize import to_json as to_json
from .serialize import to_text as to_text
from .validate import validate as validate
