"""What `native` does in one call, the coders do here one by one, with the same bytes: all functions decline."""

from typing import Any


def encode_sparse_floats(*arguments: Any) -> None:
    """Decline."""


def decode_sparse_floats(*arguments: Any) -> None:
    """Decline."""


def add_sparse_floats(*arguments: Any) -> bool:
    """Decline."""
    return False
