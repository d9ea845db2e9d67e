"""Data sets and batches in plain NumPy: IDX files, MNIST, texts, and a generator of batches."""

from .batching import batches
from .folder import load_idx_folder
from .idx import IDXError, read_idx, write_idx
from .mnist import load_mnist
from .text import encode, read_text, windows

__all__ = [
    "IDXError", "batches", "encode", "load_idx_folder", "load_mnist", "read_idx", "read_text",
    "windows", "write_idx",
]  # fmt: skip
