"""Copies between host memory and a torch device: through pinned memory where the device is a GPU.

Pinned memory comes from torch's cache of it, which keeps a buffer until the copy that uses it is done.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def to_device(rows: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return a new tensor [n, ...] on `device` with `rows`, CPU tensors of one shape and dtype, in order."""
    pinned = device.type == "cuda"
    gathered = torch.empty((len(rows), *rows[0].shape), dtype=rows[0].dtype, pin_memory=pinned)
    torch.stack(list(rows), out=gathered)
    return gathered.to(device, non_blocking=True)


def to_host(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Return `tensors`, all on one device, as numpy arrays that are complete; those of a CPU share their memory."""
    if not tensors or tensors[0].device.type == "cpu":
        return [tensor.numpy() for tensor in tensors]
    arrays = []
    for tensor in tensors:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        arrays.append(host.copy_(tensor, non_blocking=True).numpy())
    torch.cuda.synchronize(tensors[0].device)
    return arrays
