"""The most frequent kind of message written and read in one call of a kernel: sparse floats against a reference.

In a round loop most of the time that a message takes would go to waking up what Python needs for each of a dozen calls,
in caches that the training has emptied. Nothing is decided here: where the kernel declines, the coders are asked one by
one, and where it does not, they would have written the same bytes.
"""

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import header as headers
from fedcomloc_mpi.wire.coders import numbered
from fedcomloc_mpi.wire.float_coders import FloatDifferences
from fedcomloc_mpi.wire.header import Header
from fedcomloc_mpi.wire.index_coders import INDEX_CODERS, GapTokens, Rice
from fedcomloc_mpi.wire.marks import Base
from fedcomloc_mpi.wire.reference import Reference
from fedcomloc_mpi.wire.support import Support
from fedcomloc_mpi.wire.value_coder import FLOAT_BITS, EntryValues

# All that the kernel compares, or knows to be larger.
_COMPARED = numbered(("fixed", "bitmap", "rice", "tokens", "bitmap-bytes", "float32-differences"))
_INDEX_CODERS = (Rice.number, GapTokens.number)
# What marks against a reference begin with, and a byte of them.
_LEAST_INDEX_BYTES = 6


def encode(
    layout: Layout, flags: int, support: Support, values: EntryValues, reference: Reference, coders: int
) -> tuple[np.ndarray, str, str] | None:
    """Return a message, uint8, its index coder and its value coder by name; None where others might be smaller."""
    size, count = support.size, support.count
    if coders & _COMPARED != _COMPARED or values.levels is not None or not 0 < count < size:
        return None
    sections = kernels.encode_sparse_floats(
        values.values,
        support.mask,
        size,
        reference.topk_mask(count),
        reference.support_mask,
        reference.values,
    )
    if sections is None:
        return None
    header = Header(
        flags=flags | headers.FLAG_REFERENCE,
        index_coder=sections.index_coder,
        value_coder=FloatDifferences.number,
        bits=FLOAT_BITS,
        layers=len(layout.sizes),
        size=size,
        count=count,
        value_bytes=sections.value_bytes,
        index_bytes=sections.both.size - sections.value_bytes,
        fingerprint=reference.fingerprint,
    )
    data = np.empty(header.message_bytes, dtype=np.uint8)
    data[header.length :] = sections.both
    headers.write(header, data)
    return data, INDEX_CODERS[sections.index_coder].name, FloatDifferences.name


def decode(header: Header, message: np.ndarray, reference: Reference) -> tuple[Support, EntryValues] | None:
    """Return what untrusted `message`, with the checked `header`, holds; None where the coders are to be asked.

    `reference` is the one that it was coded against.
    """
    if not _fits(header):
        return None
    found = kernels.decode_sparse_floats(_coded(header, message, reference))
    if found is None:
        return None
    mask, values = found
    return Support(header.size, header.count, mask), EntryValues(values, None)


def add(
    header: Header, message: np.ndarray, reference: Reference, weight: float, accumulator: np.ndarray
) -> bool:
    """Add `weight` times what `message` holds to float64 `accumulator`; False, and nothing added, as for `decode`."""
    return _fits(header) and kernels.add_sparse_floats(
        _coded(header, message, reference), weight, accumulator
    )


def _fits(header: Header) -> bool:
    """Whether the message may be one that the kernel reads."""
    return (
        header.value_coder == FloatDifferences.number
        and header.index_coder in _INDEX_CODERS
        and header.bits == FLOAT_BITS
        and 0 < header.count < header.size
        and header.index_bytes >= _LEAST_INDEX_BYTES
    )


def _coded(header: Header, message: np.ndarray, reference: Reference) -> kernels.CodedFloats:
    """Return what the kernels read of a message."""
    indices_at = header.length + header.value_bytes
    indices = message[indices_at:]
    return kernels.CodedFloats(
        message[header.length : indices_at],
        indices,
        header.index_coder,
        header.size,
        header.count,
        reference.topk_mask(header.count) if int(indices[0]) & 3 == Base.REFERENCE_TOPK else None,
        reference.support_mask,
        reference.values,
    )
