"""The ops: rules only, a file per family. ``tinygrad_np.OPS`` lists them all."""

from . import constant as constant
from .activation import *
from .elementwise import *
from .indexing import *
from .linalg import *
from .loss import *
from .reduction import *
from .shape import *
