"""What happens in a round, as pure functions of the seed: how many local steps, which clients, on which ranks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedcomloc_mpi.randomness import Purpose, generator


def local_steps(seed: int, round: int, p: float, kind: str) -> int:
    """Return the number of local steps of a round, the same for all clients.

    "geometric": drawn from Geometric(p) on 1, 2, ...; "fixed": round(1 / p), at least 1.
    """
    if kind == "fixed":
        return max(1, int(np.rint(1.0 / p)))
    return int(generator(seed, Purpose.LOCAL_STEPS, round).geometric(p))


def draw_cohort(seed: int, round: int, clients: int, cohort: int) -> np.ndarray:
    """Return the round's clients, int64 [cohort], drawn uniformly without replacement, ascending."""
    drawn = generator(seed, Purpose.COHORT, round).choice(clients, size=cohort, replace=False, shuffle=False)
    return np.sort(drawn).astype(np.int64)


@dataclass(frozen=True)
class Assignment:
    """Which rank runs which members of a cohort.

    positions: for every rank, the positions in the cohort that it runs, ascending; the server's is empty.
    """

    positions: tuple[tuple[int, ...], ...]

    @property
    def counts(self) -> list[int]:
        """Clients of each rank, the server's 0 included."""
        return [len(positions) for positions in self.positions]

    @property
    def arrival_order(self) -> list[int]:
        """Positions in the cohort, in the order of ranks and of each rank's clients."""
        return [position for positions in self.positions for position in positions]


def assign(cohort: np.ndarray, node_of: Sequence[int]) -> Assignment:
    """Spread a cohort over the client ranks.

    A client's control variates live in the memory of one node, its home: client c belongs to the node of client rank
    1 + c mod (ranks - 1). Within a node the round's clients are spread evenly, in blocks of neighbours, whichever they
    are. `node_of` [ranks] is the node of each rank; rank 0 is the server.
    """
    ranks = len(node_of)
    ranks_of_node: dict[int, list[int]] = {}
    for rank in range(1, ranks):
        ranks_of_node.setdefault(node_of[rank], []).append(rank)
    positions_of_node: dict[int, list[int]] = {node: [] for node in ranks_of_node}
    for position, client in enumerate(cohort.tolist()):
        positions_of_node[node_of[1 + client % (ranks - 1)]].append(position)
    positions: list[tuple[int, ...]] = [()] * ranks
    for node, members in ranks_of_node.items():
        here = positions_of_node[node]
        share, rest = divmod(len(here), len(members))
        start = 0
        for order, rank in enumerate(members):
            end = start + share + (order < rest)
            positions[rank] = tuple(here[start:end])
            start = end
    return Assignment(tuple(positions))


def committing(
    cohort: np.ndarray, assignment: Assignment, next_cohort: np.ndarray, next_assignment: Assignment
) -> Assignment:
    """Return which rank commits which members of a cohort: who runs the client in the next round, or else ran it now.

    So no rank needs to wait until another has written the control variates that it reads: what one rank writes after a
    broadcast, another reads after the next broadcast at the earliest. With an empty `next_cohort` it is `assignment`.
    """
    runner = {
        int(next_cohort[position]): rank
        for rank, positions in enumerate(next_assignment.positions)
        for position in positions
    }
    commits: list[list[int]] = [[] for _ in assignment.positions]
    for rank, positions in enumerate(assignment.positions):
        for position in positions:
            commits[runner.get(int(cohort[position]), rank)].append(position)
    return Assignment(tuple(tuple(sorted(positions)) for positions in commits))
