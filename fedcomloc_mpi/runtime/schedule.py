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


def home_node(client: int, homes: Sequence[int]) -> int:
    """Return the node whose memory holds a client's control variates; `homes` [ranks]: see `World`."""
    return homes[1 + client % (len(homes) - 1)]


def assign(
    cohort: np.ndarray,
    node_of: Sequence[int],
    work: np.ndarray | None = None,
    speeds: Sequence[int] | np.ndarray | None = None,
    homes: Sequence[int] | None = None,
) -> Assignment:
    """Spread a cohort over the client ranks.

    Every client runs on its home node. Within a node the one with the most work comes first, and each goes to the rank
    that would be done with it first. `node_of` [ranks] is the node of each rank; rank 0 is the server. work: [cohort],
    what each client has to do; speeds: [ranks], work that each rank does in one unit of time; both positive, all equal
    by default. homes: see `home_node`; `node_of` by default.
    """
    homes = node_of if homes is None else homes
    ranks = len(node_of)
    amounts = [1.0] * len(cohort) if work is None else np.asarray(work, dtype=np.float64).tolist()
    speed = [1.0] * ranks if speeds is None else np.asarray(speeds, dtype=np.float64).tolist()
    members: dict[int, list[int]] = {}
    for rank in range(1, ranks):
        members.setdefault(node_of[rank], []).append(rank)
    done = [0.0] * ranks
    positions: list[list[int]] = [[] for _ in range(ranks)]
    clients = cohort.tolist()
    for position in sorted(range(len(cohort)), key=lambda position: -amounts[position]):
        amount = amounts[position]
        finish, rank = min(
            (done[rank] + amount / speed[rank], rank) for rank in members[home_node(clients[position], homes)]
        )
        done[rank] = finish
        positions[rank].append(position)
    return Assignment(tuple(tuple(sorted(mine)) for mine in positions))


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
