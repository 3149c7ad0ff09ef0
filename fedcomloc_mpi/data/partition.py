"""Who holds which training samples: Dirichlet by class, uniformly at random, or shards of few classes.

Everything is drawn from one generator keyed by the seed, so all ranks that call `partition` alike get equal
results.
"""

import difflib
import math
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomloc_mpi.atomic_file import atomic_file
from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.randomness import Purpose, generator

PARTITIONS = ("dirichlet", "iid", "shards")

MOST_REDRAWS = 10

# https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, version 1.0, of a vector of int64
_NPY_HEADER = re.compile(rb"\{'descr': '([<>])i8', 'fortran_order': False, 'shape': \((\d+),\), \} *\n")


@dataclass(frozen=True, eq=False)
class Partition:
    """`clients[i]`: int64 positions in the training set that client i holds, ascending; none is empty.

    Every position belongs to exactly one client. `redraws`: how often the Dirichlet draw was repeated (0 to
    10); `repaired`: how many samples were then moved to clients that were still short. Both are 0 for iid and
    shards.
    """

    clients: list[NDArray[np.int64]]
    redraws: int = 0
    repaired: int = 0


def partition(
    labels: NDArray[np.int64],
    name: str,
    clients: int,
    alpha: float = 0.7,
    min_samples: int = 10,
    shards_per_client: int = 2,
    seed: int = 0,
) -> Partition:
    """Divide the samples with `labels` (integers [N]) among `clients` by the rule `name` (in PARTITIONS).

    - dirichlet: for each class in turn the shares of the clients are drawn from Dir(`alpha`), with nothing
      for clients that hold N / clients samples or more; redrawn at most 10 times until every client has
      `min_samples` (at most floor(N / clients), at least 1), then repaired: short clients take random samples
      from the largest ones.
    - iid: a random division into parts whose sizes differ by at most 1.
    - shards: samples sorted by label are cut into clients x `shards_per_client` parts whose sizes differ by
      at most 1, dealt at random (McMahan et al., "Communication-Efficient Learning of Deep Networks from
      Decentralized Data", AISTATS 2017, section 3).

    `alpha` and `min_samples` matter to dirichlet only, `shards_per_client` to shards only. Raises UserError
    on an unknown name, a value out of range, or more clients (or shards) than samples.
    """
    labels = np.asarray(labels)
    if name not in PARTITIONS:
        near = difflib.get_close_matches(name.lower(), PARTITIONS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(PARTITIONS)}"
        raise UserError(f"unknown partition {name!r}: {hint}")
    if clients < 1:
        raise UserError(f"--clients must be at least 1, not {clients}")
    if clients > len(labels):
        raise UserError(f"--clients {clients} is more than the {len(labels)} training samples")
    rng = generator(seed, Purpose.PARTITION)
    if name == "iid":
        return Partition(_by_owner(_deal(rng.permutation(len(labels)), np.arange(clients)), clients))
    if name == "shards":
        return Partition(_by_owner(_shards(labels, clients, shards_per_client, rng), clients))
    if not (math.isfinite(alpha) and alpha > 0):
        raise UserError(f"--alpha must be a finite number above 0, not {alpha}")
    if min_samples < 0:
        raise UserError(f"--min-samples must not be negative, not {min_samples}")
    return _dirichlet(labels, clients, alpha, min_samples, rng)


def save_partition(path: str | os.PathLike[str], partition: Partition) -> None:
    """Write `partition` as npz, all or nothing: key = client id in decimal, value = its int64 array."""
    arrays: dict[str, Any] = {str(client): held for client, held in enumerate(partition.clients)}
    with atomic_file(path) as file:
        np.savez(file, **arrays)


def holds_partition(path: str | os.PathLike[str], clients: Sequence[NDArray[np.int64]]) -> bool:
    """Whether a file that `save_partition` has written holds the positions of these clients.

    No more is read than these would come to, whatever the file claims. Raises UserError if it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.namelist()) != len(clients):
                return False
            return all(_holds(archive, f"{client}.npy", held) for client, held in enumerate(clients))
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{os.fspath(path)} is damaged") from error


def _holds(archive: zipfile.ZipFile, name: str, expected: NDArray[np.int64]) -> bool:
    with archive.open(name) as file:
        magic, length = file.read(8), int.from_bytes(file.read(2), "little")
        header = _NPY_HEADER.fullmatch(file.read(length))
        if magic != b"\x93NUMPY\x01\x00" or header is None:
            raise ValueError(f"{name} does not hold positions")
        entries = expected.astype(f"{header[1].decode()}i8").tobytes()
        return int(header[2]) == len(expected) and file.read(len(entries) + 1) == entries


def _dirichlet(
    labels: NDArray[np.int64], clients: int, alpha: float, min_samples: int, rng: np.random.Generator
) -> Partition:
    by_label = np.argsort(labels, kind="stable")
    classes = np.split(by_label, np.flatnonzero(np.diff(labels[by_label])) + 1)
    required = max(1, min(min_samples, len(labels) // clients))
    redraws = 0
    owners, held = _draw_owners(classes, len(labels), clients, alpha, rng)
    while held.min() < required and redraws < MOST_REDRAWS:
        redraws += 1
        owners, held = _draw_owners(classes, len(labels), clients, alpha, rng)
    repaired = _repair(owners, held, required, rng)
    return Partition(_by_owner(owners, clients), redraws, repaired)


def _draw_owners(
    classes: list[NDArray[np.int64]], samples: int, clients: int, alpha: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the owner of each sample, int64 [samples], and how many each client holds, int64 [clients]."""
    owners = np.empty(samples, dtype=np.int64)
    held = np.zeros(clients, dtype=np.int64)
    for members in classes:
        shuffled = rng.permutation(members)
        shares = dirichlet_shares(alpha, clients, rng)
        # In integers: the quotient samples / clients is not exact.
        full = held * clients >= samples
        shares[full] = 0.0
        if not shares.any():
            shares[~full] = 1.0
        # Dividing by the last sum renormalizes, and makes the last boundary exact: the rest of a class lost
        # to rounding would otherwise go to the last client, full or not.
        sums = np.cumsum(shares)
        boundaries = np.floor(sums / sums[-1] * len(members)).astype(np.int64)
        sizes = np.diff(boundaries, prepend=0)
        owners[shuffled] = np.repeat(np.arange(clients), sizes)
        held += sizes
    return owners, held


def dirichlet_shares(alpha: float, clients: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw from the symmetric Dirichlet distribution: float64 [clients], sum 1, for any finite alpha > 0.

    Shares are normalised gamma variates. For a small shape these underflow to 0, all of them at alpha 0.001,
    so they are drawn as logarithms: Gamma(a) = Gamma(a + 1) U^(1/a) (G. Marsaglia, W. Tsang, "A simple method
    for generating gamma variables", 2000), and the largest becomes 1 before anything leaves the logarithmic
    scale.
    """
    shape = max(alpha, 1e-300)  # below, log(U) / a overflows; the distribution is the same
    logarithms = np.log(rng.standard_gamma(shape + 1.0, clients)) - rng.standard_exponential(clients) / shape
    shares: NDArray[np.float64] = np.exp(logarithms - logarithms.max())
    shares /= shares.sum()
    return shares


def _repair(
    owners: NDArray[np.int64], held: NDArray[np.int64], required: int, rng: np.random.Generator
) -> int:
    """Give clients with fewer than `required` samples random ones of the largest, in place; return how many.

    The sizes are those of taking one sample after the other, each from the client that is then the largest,
    so a giver keeps `required` at least: `required` is at most the mean.
    """
    lacking = np.maximum(required - held, 0)
    wanted = int(lacking.sum())
    if wanted == 0:
        return 0
    given = _surplus_of_largest(held, wanted)
    # Group the samples by owner, each group in random order, and take the first ones of each giver's group.
    shuffled = rng.permutation(len(owners))
    grouped = shuffled[np.argsort(owners[shuffled], kind="stable")]
    rank_in_group = np.arange(len(owners)) - np.repeat(np.cumsum(held) - held, held)
    moved = rng.permutation(grouped[rank_in_group < given[owners[grouped]]])
    owners[moved] = np.repeat(np.arange(len(held)), lacking)
    held += lacking - given
    return wanted


def _surplus_of_largest(held: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Return how many each client gives if `wanted` are taken one by one from the then largest."""
    low, high = 0, int(held.max())
    while low < high:  # the highest level above which at least `wanted` samples lie
        level = (low + high + 1) // 2
        if int(np.maximum(held - level, 0).sum()) >= wanted:
            low = level
        else:
            high = level - 1
    given = np.maximum(held - low, 0)
    # Those taken last would be among the givers' last samples above the level: the higher ids keep theirs.
    keepers = np.flatnonzero(given)[::-1][: int(given.sum()) - wanted]
    given[keepers] -= 1
    return given


def _shards(
    labels: NDArray[np.int64], clients: int, shards_per_client: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    shards = clients * shards_per_client
    if shards_per_client < 1:
        raise UserError(f"--shards-per-client must be at least 1, not {shards_per_client}")
    if shards > len(labels):
        raise UserError(
            f"--clients {clients} x --shards-per-client {shards_per_client} shards are more than "
            f"the {len(labels)} training samples"
        )
    owner_of_shard = rng.permutation(np.repeat(np.arange(clients), shards_per_client))
    return _deal(np.argsort(labels, kind="stable"), owner_of_shard)


def _deal(order: NDArray[np.int64], owner_of_part: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each sample's owner if `order` is cut into near-equal parts, one for each of `owner_of_part`."""
    boundaries = np.arange(len(owner_of_part) + 1) * len(order) // len(owner_of_part)
    owners = np.empty(len(order), dtype=np.int64)
    owners[order] = np.repeat(owner_of_part, np.diff(boundaries))
    return owners


def _by_owner(owners: NDArray[np.int64], clients: int) -> list[NDArray[np.int64]]:
    """Return the positions that each client owns, ascending."""
    grouped = np.argsort(owners, kind="stable").astype(np.int64, copy=False)
    return np.split(grouped, np.cumsum(np.bincount(owners, minlength=clients))[:-1])
