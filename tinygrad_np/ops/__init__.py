"""The ops: rules only, a file per family. ``tinygrad_np.OPS`` lists them all."""

from . import constant as constant  # the package takes the other families' names itself
