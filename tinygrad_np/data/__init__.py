"""Data sets in, batches out: IDX files, MNIST, and a generator of batches. Plain NumPy."""

from .batching import batches
from .folder import load_idx_folder
from .idx import IDXError, read_idx, write_idx
from .mnist import load_mnist

__all__ = ["IDXError", "batches", "load_idx_folder", "load_mnist", "read_idx", "write_idx"]
