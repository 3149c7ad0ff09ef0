"""A second decoder, written from docs/wire-format.md alone: slow, in plain Python, sharing no code with the program."""

import math
import struct
import zlib
from dataclasses import dataclass

M64 = (1 << 64) - 1
A, B, C = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


@dataclass
class Decoded:
    """flags of the header; float32 bit patterns, and levels where there are any, by entry."""

    flags: int
    index_coder: int
    value_coder: int
    bits_of: dict[int, int]
    level_of: dict[int, int] | None


def mix(z):
    z = ((z ^ (z >> 30)) * B) & M64
    z = ((z ^ (z >> 27)) * C) & M64
    return z ^ (z >> 31)


def word(z):
    z = ((z ^ (z >> 32)) * B) & M64
    return z ^ (z >> 29)


def hash_of(data):
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
    total = 0
    for b in range(0, len(words), 8192):
        block = sum(word((w + (i + 1) * A) & M64) for i, w in enumerate(words[b : b + 8192]))
        total += mix((block + (b // 8192 + 1) * A) & M64)
    return mix((total + len(data)) & M64)


def fingerprint(reference):
    """Of a vector given as float32 bit patterns."""
    d = len(reference)
    bitmap = sum(1 << i for i, each in enumerate(reference) if each).to_bytes(-(-d // 8), "little")
    values = b"".join(each.to_bytes(4, "little") for each in reference if each)
    return mix((hash_of(bitmap) + mix((hash_of(values) + A) & M64) + d) & M64)


def as_float(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def as_float32_bits(number):
    return struct.unpack("<I", struct.pack("<f", number))[0]


def signed(number):
    number &= 0xFFFFFFFF
    return number - (1 << 32) if number >> 31 else number


def unzigzag(code):
    return -(code + 1) // 2 if code % 2 else code // 2


class Bits:
    """A bit stream."""

    def __init__(self, data):
        self.number, self.size, self.position = int.from_bytes(data, "little"), 8 * len(data), 0

    def take(self, width):
        assert self.position + width <= self.size
        value = self.number >> self.position & ((1 << width) - 1)
        self.position += width
        return value

    @property
    def bytes_read(self):
        return -(-self.position // 8)


def stream(data, width, count):
    """Return (values, what follows)."""
    size = -(-count * width // 8)
    reader = Bits(data[:size])
    return [reader.take(width) for _ in range(count)], data[size:]


def smallest(token, m):
    """Return (the smallest integer with this token, its low bits)."""
    if token < 2 << m:
        return token, 0
    shift = (token >> m) - 1
    return (token - (shift << m)) << shift, shift


def frequencies(weights, occurs):
    u, total = sum(occurs), sum(weights)
    assert total > 0
    result, running = [], 0
    for weight, here in zip(weights, occurs, strict=True):
        before = running * (4096 - u) // total
        running += weight
        result.append(1 + running * (4096 - u) // total - before if here else 0)
    assert sum(result) == 4096
    return result


def described_table(reader, alphabet):
    s, weights, previous = reader.take(8) + 1, [], 0
    assert s <= alphabet
    for _ in range(s):
        zeros = 0
        while not reader.take(1):
            zeros += 1
        assert zeros <= 5
        c = 1
        for _ in range(zeros):
            c = c << 1 | reader.take(1)
        length = previous + unzigzag(c - 1)
        assert 0 <= length <= 17
        weight = 0
        if length:
            extra = min(3, length - 1)
            weight = (1 << extra | reader.take(extra)) << (length - 1 - extra)
        weights.append(weight)
        previous = length
    return frequencies(weights, [weight > 0 for weight in weights])


def geometric_table(s, n, universe, m):
    ratio, survival = ((universe - n) << 32) // universe, [1 << 32]
    for token in range(1, s):
        r, q, g = 1 << 32, ratio, smallest(token, m)[0]
        while g:
            if g & 1:
                r = r * q >> 32
            q = q * q >> 32
            g >>= 1
        survival.append(min(r, survival[-1]))
    survival.append(0)
    return frequencies([survival[t] - survival[t + 1] for t in range(s)], [True] * s)


def symbols(data, n, universe=0, classes=None, kind=None):
    """Return (symbols, kind, what follows)."""
    mode, geometric, found = data[0] & 3, data[0] >> 2 & 1, data[0] >> 3
    assert mode <= 2 and found <= 4 and (kind is None or kind == found)
    kind, at, starts = found, 1, 1
    alphabet = 256 if kind == 4 else ((31 - kind) << kind) + (2 << kind)
    if mode:
        starts = int.from_bytes(data[1:3], "little")
        at = 3
    assert starts & 1
    if geometric:
        assert mode == 0 and kind < 4 and universe >= n
        tables = [geometric_table(data[1] + 1, n, universe, kind)] * 16
        at = 2
    else:
        reader, tables = Bits(data[at:]), []
        for c in range(16):
            tables.append(described_table(reader, alphabet) if starts >> c & 1 else tables[-1])
        at += reader.bytes_read
    lanes = list(struct.unpack_from("<4I", data, at))
    at += 16
    assert min(lanes) >= 1 << 16
    result, mean = [], 0
    for i in range(n):
        context = 0 if mode == 0 else classes[i] if mode == 2 else min(mean.bit_length(), 15)
        x = lanes[i % 4]
        slot, start = x % 4096, 0
        for symbol, f in enumerate(tables[context]):  # noqa: B007
            if start <= slot < start + f:
                break
            start += f
        x = f * (x >> 12) + slot - start
        if x < 1 << 16:
            x = (x << 16) + struct.unpack_from("<H", data, at)[0]
            at += 2
        lanes[i % 4] = x
        result.append(symbol)
        if mode == 1 and i % 4 == 3:
            mean += sum(min(65536, smallest(each, kind)[0]) for each in result[-4:]) - (mean >> 2)
    assert lanes == [1 << 16] * 4
    return result, kind, data[at:]


def integers(data, n, universe=0, classes=None):
    """Return the integers of a section that holds nothing else."""
    if n == 0:
        assert not data
        return []
    tokens, m, rest = symbols(data, n, universe, classes)
    reader = Bits(rest)
    values = []
    for token in tokens:
        first, low = smallest(token, m)
        values.append(first + reader.take(low))
    assert reader.bytes_read == len(rest)
    return values


def read_index(coder, data, d, k, reference):
    """Return the entries carried, ascending."""
    if coder == 0:
        assert k == d and not data
        return list(range(d))
    if coder == 1:
        found, rest = stream(data, len(f"{d - 1:b}") if d > 1 else 0, k)
        assert not rest
        return found
    if coder == 2:
        found, rest = stream(data, 1, d)
        assert not rest
        return [i for i, bit in enumerate(found) if bit]
    base, inverted = data[0] & 3, data[0] >> 2 & 1
    assert data[0] < 8 and base < 3
    n, data = (d - k if inverted else k), data[1:]
    if base:
        n, data = int.from_bytes(data[:4], "little"), data[4:]
    if coder == 5:
        found, _, rest = symbols(data, -(-d // 8), kind=4)
        assert not rest
        marks = {i for i, bit in enumerate(stream(bytes(found), 1, d)[0]) if bit}
    else:
        if coder == 3:
            b, reader = data[0], Bits(data[1:])
            high = []
            for _ in range(n):
                zeros = 0
                while not reader.take(1):
                    zeros += 1
                high.append(zeros)
            low, rest = stream(data[1 + reader.bytes_read :], b, n)
            assert not rest
            gaps = [(h << b) + g for h, g in zip(high, low, strict=True)]
        else:
            gaps = integers(data, n, universe=d)
        marks, entry = set(), -1
        for gap in gaps:
            entry += gap + 1
            marks.add(entry)
    assert len(marks) == n and max(marks, default=-1) < d
    if inverted:
        marks = set(range(d)) - marks
    if base == 1:
        marks ^= set(sorted(range(d), key=lambda i: (-(reference[i] & 0x7FFFFFFF), i))[:k])
    if base == 2:
        marks ^= {i for i in range(d) if reference[i]}
    return sorted(marks)


def uniform(key, i):
    return (mix((key + (i + 1) * A) & M64) >> 11) * 2.0**-53


def ordered(bits):
    return signed(bits if bits < 1 << 31 else bits ^ 0x7FFFFFFF)


def unordered(number):
    number &= 0xFFFFFFFF
    return number if number < 1 << 31 else number ^ 0x7FFFFFFF


def scales_of(data, count):
    return list(struct.unpack_from(f"<{count}f", data)), data[4 * count :]


def rounding(data):
    if data[0] == 0:
        return None, data[1:]
    assert data[0] == 1
    return int.from_bytes(data[1:9], "little"), data[9:]


def predicted(ref, scale, steps, key, i):
    if scale == 0:
        return 0
    number = as_float(ref)
    level = min(1 << 30, math.floor(abs(number) / scale * steps + (0.5 if key is None else uniform(key, i))))
    return -level if ref >> 31 else level


def lattice(data, sizes, r, reference):
    """Return (divisor, steps, what follows)."""
    divisor, at = int.from_bytes(data[:4], "little"), 0
    own, steps = [], []
    for size in sizes:
        largest = max((abs(as_float(each)) for each in reference[at : at + size]), default=0.0)
        at += size
        step = 0.0
        if largest:
            quotient, exponent = largest / (2**r - 1), -200
            while 2.0**exponent < quotient:
                exponent += 1
            step = 2.0 ** min(max(exponent, -126), 96)
        own.append(not largest)
        steps.append(step)
    given, data = scales_of(data[4:], sum(own))
    return divisor, [given.pop(0) if mine else step for mine, step in zip(own, steps, strict=True)], data


def read_values(coder, data, entries, sizes, r, reference):
    """Return (float32 bits, levels or None), in the order of `entries`."""
    k, layers = len(entries), len(sizes)
    known = [reference[i] for i in entries] if reference else []
    layer_of = [layer for layer, size in enumerate(sizes) for _ in range(size)]
    if coder in (0, 2, 3):
        assert r == 32
        if coder == 0:
            return list(struct.unpack(f"<{k}I", data)), None
        if coder == 2:
            exponents, _, rest = symbols(data, k, kind=4)
            parts, rest = stream(rest, 24, k)
            assert not rest
            pairs = zip(exponents, parts, strict=True)
            return [(part >> 23 << 31) | exponent << 23 | part & 0x7FFFFF for exponent, part in pairs], None
        classes = [min(max(data[0] - (each >> 23 & 255), 0), 15) for each in known]
        codes = integers(data[1:], k, classes=classes)
        pairs = zip(codes, known, strict=True)
        return [unordered(ordered(ref) + unzigzag(code)) for code, ref in pairs], None
    steps, key = 2**r - 1, None
    if coder in (1, 4, 5):
        scales, data = scales_of(data, layers)
    else:
        steps, scales, data = lattice(data, sizes, r, reference)
    if coder in (5, 6, 7):
        key, data = rounding(data)
    if coder == 1:
        codes, rest = stream(data, r + 1, k)
        assert not rest
    elif coder == 7:
        codes, rest = stream(data[1:], data[0], k)
        assert not rest
    else:
        codes = integers(data, k)
    levels = [unzigzag(code) for code in codes]
    if coder in (5, 6):
        levels = [
            signed(level + predicted(ref, scales[layer_of[i]], steps, key, i))
            for level, ref, i in zip(levels, known, entries, strict=True)
        ]
    pairs = zip(levels, entries, strict=True)
    return [as_float32_bits(level * scales[layer_of[i]] / steps) for level, i in pairs], levels


def read_by_the_page(message, sizes, reference=None):
    """Return what a valid message of version 1 holds; `reference`: float32 bit patterns."""
    magic, version, flags, index_coder, value_coder, r, reserved = struct.unpack_from("<2s6B", message)
    layers, d, k, value_bytes, index_bytes, checksum = struct.unpack_from("<6I", message, 8)
    assert (magic, version, reserved, flags & ~3) == (b"FC", 1, 0, 0)
    assert (layers, d) == (len(sizes), sum(sizes))
    assert checksum == zlib.crc32(message[:28] + message[32:])
    begin = 32
    if flags & 1:
        assert struct.unpack_from("<Q", message, 32)[0] == fingerprint(reference)
        begin = 40
    assert len(message) == begin + value_bytes + index_bytes
    values, index = message[begin : begin + value_bytes], message[begin + value_bytes :]
    known = reference if flags & 1 else None
    entries = read_index(index_coder, index, d, k, known)
    assert len(entries) == k
    bits, levels = read_values(value_coder, values, entries, sizes, r, known)
    return Decoded(
        flags,
        index_coder,
        value_coder,
        dict(zip(entries, bits, strict=True)),
        None if levels is None else dict(zip(entries, levels, strict=True)),
    )
