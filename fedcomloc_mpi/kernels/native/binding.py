"""The compiled codec.c: found, loaded and called through ctypes."""

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NoReturn

import numpy as np

from fedcomloc_mpi.errors import MessageError, NonFiniteError
from fedcomloc_mpi.layout import Layout

_VERSION = 8
_ERRORS: dict[int, Callable[[], Exception]] = {
    -1: lambda: ValueError("an argument of a codec kernel is out of range"),
    -2: lambda: ValueError("a buffer of a codec kernel is too small"),
    -3: lambda: MessageError("the message is cut short inside a section"),
    -4: lambda: MessageError("the message is damaged: a section cannot be decoded"),
    -5: lambda: NonFiniteError("NaN or an infinity among the values"),
}

_I64, _I32, _U64, _U32 = ctypes.c_int64, ctypes.c_int32, ctypes.c_uint64, ctypes.c_uint32
_F64, _P = ctypes.c_double, ctypes.c_void_p
_PROTOTYPES: dict[str, tuple[type, ...]] = {
    "version": (),
    "runs_v3": (),
    "popcount": (_P, _I64),
    "gather": (_P, _I64, _P, _P, _I64),
    "gather_known": (_P, _I64, _P, _P, _I64, _P, _I64),
    "scatter": (_P, _I64, _P, _I64, _P),
    "accumulate": (_P, _I64, _P, _I64, _F64, _P),
    "select_words": (_I64,),
    "select": (_P, _I64, _I64, _P, _P, _I64, _P),
    "support": (_P, _I64, _P),
    "expand": (_P, _I64, _P, _I64, _P),
    "fingerprint": (_P, _I64, _P, _I64, _P),
    "crc32": (_P, _I64, _U32),
    "quantize": (_P, _I64, _P, _I64, _P, _P, _I64, _I64, _I64, _U64, _I32, _P),
    "dequantize": (_P, _I64, _P, _I64, _P, _P, _I64, _I64, _P),
    "layer_maxima": (_P, _I64, _P, _I64, _P, _I64, _P),
    "float_differences": (_P, _P, _I64, _P),
    "apply_float_differences": (_P, _P, _I64, _P),
    "reference_classes": (_P, _I64, _I32, _P),
    "level_differences": (_P, _P, _I64, _P),
    "apply_level_differences": (_P, _P, _I64, _I64, _P),
    "pack": (_P, _I64, _I32, _P, _I64),
    "unpack": (_P, _I64, _I64, _I32, _P),
    "split_floats": (_P, _I64, _P, _P),
    "join_floats": (_P, _P, _I64, _P),
    "gaps": (_P, _I64, _P, _I64),
    "flip": (_P, _I64, _P, _I64),
    "mark": (_P, _I64, _P, _P, _P, _P, _I64, _P),
    "unmark": (_P, _I64, _P, _I64, _I32, _I64, _P),
    "positions": (_P, _I64, _P),
    "gaps_of_positions": (_P, _I64, _I64, _P),
    "quotient_sum": (_P, _I64, _I32),
    "rice_parameter": (_P, _I64, _I32, _I32, _P),
    "rice_encode": (_P, _I64, _I32, _P, _I64),
    "rice_decode": (_P, _I64, _I64, _I32, _P),
    "tokenise": (_P, _I64, _I32, _P),
    "pack_low": (_P, _I64, _I32, _I64, _P, _I64),
    "unpack_low": (_P, _I64, _P, _I64, _I32, _P),
    "plan_bytes": (),
    "decode_words": (),
    "symbols_bound": (_I64,),
    "plan_symbols": (_P, _P, _I64, _I32, _I32, _P, _P, _I64),
    "encode_symbols": (_P, _P, _I64, _P, _P, _P, _I64),
    "decode_symbols": (_P, _I64, _I64, _I32, _P, _I64, _P, _P),
    "plan_float_differences": (_P, _P, _I64, _P, _I32, _P, _P, _P, _I64, _P),
    "decode_float_differences": (_P, _I64, _I64, _P, _I32, _P, _P, _P, _P),
    "sparse_work": (_I64, _I64),
    "sparse_bound": (_I64, _I64),
    "encode_sparse_floats": (_P, _I64, _P, _I64, _P, _P, _P, _I64, _P, _I64, _P, _I64, _P),
    "decode_sparse_floats": (_P, _I64, _P, _I64, _I32, _I64, _I64, _P, _P, _P, _I64, _P, _I64, _P, _P),
    "add_sparse_floats": (_P, _I64, _P, _I64, _I32, _I64, _I64, _P, _P, _P, _I64, _P, _I64, _F64, _P),
}


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where the package was installed without a compiler.

    There are two builds of one source, whose results are the same bits: for every machine, and for x86-64-v3.
    """
    for_all = load("_codec")
    if for_all is not None and for_all.fcl_runs_v3():
        return load("_codec_v3") or for_all
    return for_all


def load(name: str) -> ctypes.CDLL | None:
    """Return one build of the kernels, or None if it is not installed or of another version than this module."""
    for path in sorted(Path(__file__).parents[1].glob(f"{name}.*so")):
        try:
            found = ctypes.CDLL(str(path))
            found.fcl_version.restype = _I64
        except (OSError, AttributeError):
            continue
        if found.fcl_version() != _VERSION:
            continue
        for kernel, arguments in _PROTOTYPES.items():
            function = getattr(found, f"fcl_{kernel}")
            function.argtypes, function.restype = arguments, _I64
        return found
    return None


def _fail(code: int) -> NoReturn:
    raise _ERRORS[code]()


def call(name: str, *arguments: object, answers: int = 0) -> int:
    """Call a kernel: arrays become their addresses, None a null pointer; raise what its error code means.

    answers: a negative code that is no error, and returned.
    """
    passed = [_address(each) if isinstance(each, np.ndarray) else each for each in arguments]
    result: int = _FUNCTIONS[name](*passed)
    if result < 0 and result != answers:
        _fail(result)
    return result


def _address(array: np.ndarray) -> int:
    """Return where an array's memory begins, several times faster than `ctypes.data` where that is possible."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # it is read-only, or empty
        return array.ctypes.data


@cache
def constant(name: str, *arguments: int) -> int:
    """Return what a kernel without side effects says of sizes."""
    return call(name, *arguments)


def functions(loaded: ctypes.CDLL | None) -> dict[str, Callable[..., int]]:
    """Return the kernels of one build by name; none without one."""
    return {} if loaded is None else {name: getattr(loaded, f"fcl_{name}") for name in _PROTOTYPES}


_FUNCTIONS = functions(library())


class Workspace(threading.local):
    """Scratch memory of the kernels, one a thread and kept: fresh pages would cost more than the work in them."""

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}

    def take(self, name: str, size: int, dtype: type) -> np.ndarray:
        """Return an array of at least `size` entries; it is valid until the next call with this name."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size, dtype=dtype)
        return buffer


WORKSPACE = Workspace()


def typed(array: np.ndarray, dtype: type) -> np.ndarray:
    """Return `array`, checked: kernels read memory as exactly this type, without gaps."""
    if array.dtype != dtype or array.ndim != 1 or not array.flags.c_contiguous:
        raise ValueError(
            f"a contiguous 1-D {np.dtype(dtype)} array is needed, not {array.dtype} {array.shape}"
        )
    return array


def checked_bitmap(mask: np.ndarray | None, size: int) -> np.ndarray | None:
    """Return `mask`, checked to be a bitmap of `size` entries, or None."""
    if mask is not None and typed(mask, np.uint8).size != (size + 7) // 8:
        raise ValueError(f"a bitmap of {size} entries is needed, not {mask.size} bytes")
    return mask


def offsets_of(layout: Layout) -> np.ndarray:
    """Return the layout's offsets, int64 [layers + 1]."""
    return np.array(layout.offsets, dtype=np.int64)


def same_size(one: np.ndarray, other: np.ndarray) -> None:
    """Raise ValueError unless two arrays have the same number of entries."""
    if one.size != other.size:
        raise ValueError(f"arrays of one size are needed, not {one.size} and {other.size}")
