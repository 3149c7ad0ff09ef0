"""Frequency tables of the entropy coder, in Python; docs/wire-format.md defines them."""

import math

from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.kernels.twins.tokens import token_base

PROBABILITY_BITS = 12
FRACTION = 12
_SCALE = 1 << PROBABILITY_BITS
_WEIGHT_BITS = 17
_LOG2_OF = [round(65536 * math.log2(1 + i / 64)) for i in range(65)]


def _zigzag(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1


def _unzigzag(number: int) -> int:
    return -(number + 1) // 2 if number & 1 else number // 2


def log2_fixed(value: int) -> int:
    """Return log2 of a positive integer in units of 2^-FRACTION, from a table on straight lines as in codec.c."""
    whole = value.bit_length() - 1
    fraction = (value << (32 - whole)) & 0xFFFFFFFF
    first, after = _LOG2_OF[fraction >> 26], _LOG2_OF[(fraction >> 26) + 1]
    between = (after - first) * (fraction & ((1 << 26) - 1)) >> 26
    return (whole << FRACTION) + ((first + between + (1 << (15 - FRACTION))) >> (16 - FRACTION))


def weights_of(histogram: list[int]) -> list[int]:
    """Return the weights, four significant bits each, of the symbols up to the highest that occurs."""
    total = sum(histogram)
    weights = []
    for seen in histogram:
        share = seen * 65536 // total
        weight = 0 if not seen else share - 16 if share > 17 else 1
        drop = weight.bit_length() - 4
        if drop > 0:
            weight = (weight + (1 << (drop - 1))) >> drop << drop
        weights.append(weight)
    while weights and not weights[-1]:
        weights.pop()
    return weights


def normalise(weights: list[int], used: list[bool]) -> list[int]:
    """Return frequencies that sum to 2^12: 1 for every used symbol, the rest in proportion to the weights."""
    rest, total = _SCALE - sum(used), sum(weights)
    if not total:
        raise MessageError("the message is damaged: a section cannot be decoded")
    frequencies, running = [], 0
    for weight, occurs in zip(weights, used, strict=True):
        before = running * rest // total
        running += weight
        frequencies.append(running * rest // total - before + 1 if occurs else 0)
    return frequencies


def own_table(histogram: list[int]) -> list[int]:
    """Return the frequencies of a histogram's own table."""
    weights = weights_of(histogram)
    return normalise(weights, [weight > 0 for weight in weights])


def geometric_table(count: int, universe: int, mantissa: int, symbols: int) -> list[int]:
    """Return the frequencies of the tokens of gaps between `count` marks at random among `universe` entries."""
    one = 1 << 32
    ratio = ((universe - count) << 32) // universe
    survival = [one]
    for symbol in range(1, symbols):
        left, power, result = token_base(symbol, mantissa), ratio, one
        while left:
            if left & 1:
                result = result * power >> 32
            power = power * power >> 32
            left >>= 1
        survival.append(min(result, survival[-1]))
    survival.append(0)
    weights = [survival[symbol] - survival[symbol + 1] for symbol in range(symbols)]
    return normalise(weights, [True] * symbols)


def coded_size(histogram: list[int], frequencies: list[int]) -> int:
    """Return the size of the symbols in units of 2^-FRACTION bit."""
    size = 0
    for seen, frequency in zip(histogram, frequencies, strict=False):
        if seen:
            size += seen * ((PROBABILITY_BITS << FRACTION) - log2_fixed(frequency))
    return size


def describe(histogram: list[int]) -> list[int]:
    """Return the bits, first to last, that describe a histogram's own table."""
    weights = weights_of(histogram)
    bits = [len(weights) - 1 >> bit & 1 for bit in range(8)]
    previous = 0
    for weight in weights:
        length = weight.bit_length()
        code = _zigzag(length - previous) + 1
        bits += [0] * (code.bit_length() - 1) + [int(bit) for bit in f"{code:b}"]
        tail = min(max(length - 1, 0), 3)
        top = weight >> max(length - 1 - tail, 0)
        bits += [top >> bit & 1 for bit in range(tail)]
        previous = length
    return bits


class BitReader:
    """Bits of untrusted bytes, least significant first."""

    def __init__(self, section: bytes) -> None:
        self._stream = int.from_bytes(section, "little")
        self._size = 8 * len(section)
        self.position = 0

    def take(self, width: int) -> int:
        """Return the next `width` bits as an integer. Raises MessageError at the end."""
        if self.position + width > self._size:
            raise MessageError("the message is cut short inside a section")
        value = self._stream >> self.position & ((1 << width) - 1)
        self.position += width
        return value


def parse(reader: BitReader, alphabet: int) -> list[int]:
    """Return the frequencies that `describe` described. Raises MessageError."""
    damaged = MessageError("the message is damaged: a section cannot be decoded")
    symbols = reader.take(8) + 1
    if symbols > alphabet:
        raise damaged
    weights, previous = [], 0
    for _ in range(symbols):
        zeros = 0
        while not reader.take(1):
            zeros += 1
            if zeros > 5:
                raise damaged
        code = 1
        for _ in range(zeros):
            code = code << 1 | reader.take(1)
        length = previous + _unzigzag(code - 1)
        if not 0 <= length <= _WEIGHT_BITS:
            raise damaged
        tail = min(max(length - 1, 0), 3)
        top = reader.take(tail)
        weights.append(((1 << tail) | top) << (length - 1 - tail) if length else 0)
        previous = length
    return normalise(weights, [weight > 0 for weight in weights])
