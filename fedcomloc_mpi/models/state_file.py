"""state_dict files (initial.pt, final.pt): written reproducibly, read without running code from them."""

import io
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from fedcomloc_mpi.errors import UserError


def state_bytes(state: Mapping[str, Tensor]) -> bytes:
    """Return what torch.save writes for `state`; equal states give equal bytes, whatever the file's name."""
    # torch.save puts the name of a file into its contents; a buffer has none.
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def load_state(path: str | os.PathLike[str]) -> dict[str, object]:
    """Return the state_dict in file `path`, on the CPU; its tensors are mapped from the file, not copied.

    Values are not checked: see FlatModel.vector_from_state. Raises UserError if the file cannot be read, or
    is not a state_dict that torch's restricted unpickler accepts.
    """
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise UserError(f"cannot read {os.fspath(path)}: {error.strerror}") from error
    try:
        # Mapped storages cannot be resized, so a file cannot make torch allocate more than it holds.
        state = torch.load(os.fspath(path), map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch.load raises whatever its damaged input leads to
        raise UserError(f"{os.fspath(path)} is not a state_dict written by torch.save") from error
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UserError(f"{os.fspath(path)} holds no state_dict: a dict of tensors by name is needed")
    return state
