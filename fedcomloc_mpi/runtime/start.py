"""Where a job begins: afresh, or after the round of a checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedcomloc_mpi.config import Config
from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.runtime.checkpoint.container import DamagedFile
from fedcomloc_mpi.runtime.checkpoint.find import Found, load_rows, newest_usable, open_checkpoint
from fedcomloc_mpi.runtime.checkpoint.names import FOLDER, state_name
from fedcomloc_mpi.runtime.checkpoint.saver import job_shape
from fedcomloc_mpi.runtime.checkpoint.server_state import ServerState, check_shape
from fedcomloc_mpi.runtime.client_state import ClientState
from fedcomloc_mpi.runtime.schedule import home_node
from fedcomloc_mpi.runtime.setup import Setup
from fedcomloc_mpi.runtime.training_data import attempt
from fedcomloc_mpi.transport.wait import wait_all
from fedcomloc_mpi.transport.world import World
from fedcomloc_mpi.wire import numbered


@dataclass(frozen=True)
class Located:
    """The checkpoint that a job goes on from.

    round: None if there is none. coders: the set that the run has written messages with, so that it goes on with the
    same bytes. found: what was found, on the server.
    """

    round: int | None
    coders: int
    found: Found | None


@dataclass(frozen=True)
class Start:
    """What a rank begins with.

    round: the last one completed, 0 for none. broadcast: float32 [vectors, d], what every rank goes on from. held: the
    clients of this rank's node that have taken part. state: on the server of a resumed run, else None.
    """

    round: int
    broadcast: np.ndarray
    held: frozenset[int]
    state: ServerState | None = None


def find_checkpoint(world: World, config: Config) -> Located:
    """Return what a resumed run goes on from; all ranks call this.

    Raises UserError on all ranks alike if there is nothing to go on from.
    """
    found: list[Found | None] = [None]

    def find() -> None:
        if config.runtime.resume is None:
            return
        folder = Path(config.runtime.resume)
        found[0] = newest_usable(folder / FOLDER)
        records = folder / "rounds.jsonl"
        if found[0] is None:
            if records.exists() and records.stat().st_size:
                raise UserError(
                    f"--resume {folder}: it holds records of rounds but no checkpoint: start a new run from its"
                    " settings with --config and its config.toml"
                )
            return
        _numbered(found[0].saved.coders)
        if found[0].saved.state.round > config.algorithm.rounds:
            raise UserError(
                f"--rounds {config.algorithm.rounds}: the run in {folder} has a checkpoint of round"
                f" {found[0].saved.state.round} already"
            )

    attempt(world, find if world.is_server else None)
    place = np.array([-1, 0], dtype=np.int64)
    if found[0] is not None:
        place[:] = found[0].saved.state.round, _numbered(found[0].saved.coders)
    world.broadcast(place)
    return Located(int(place[0]) if place[0] >= 0 else None, int(place[1]), found[0])


def _numbered(coders: Sequence[str]) -> int:
    """Return the set of coders with these names. Raises UserError."""
    try:
        return numbered(coders)
    except KeyError as unknown:
        raise UserError(
            f"--resume: the run uses the coder {unknown}, which this version does not have"
        ) from None


def restore(setup: Setup, state: ClientState, located: Located) -> Start:
    """Bring every rank to where the checkpoint was; all ranks call this."""
    world, config, found = setup.world, setup.config, located.found
    broadcast = np.zeros((setup.algorithm.downlink_vectors, setup.layout.size), dtype=np.float32)
    broadcast[0] = setup.initial.numpy()
    if located.round is None:
        return Start(0, broadcast, frozenset())
    round = located.round
    assert config.runtime.resume is not None
    folder = Path(config.runtime.resume)
    held: set[int] = set()

    def load() -> None:
        try:
            seen = found if found is not None else open_checkpoint(folder / FOLDER / state_name(round))
        except DamagedFile as damage:
            raise UserError(f"on {world.hosts[world.rank]}: {damage}") from damage
        check_shape(seen.saved.shape, job_shape(setup), folder)
        here = world.node_of[world.rank]
        held.update(load_rows(seen.rows, state, lambda client: home_node(client, world.homes) == here))

    attempt(world, load if world.is_server else None)
    attempt(world, load if world.leads_node and not world.is_server else None)
    if found is not None:
        broadcast[:] = found.saved.state.broadcast
    world.broadcast(broadcast)
    has_row = np.zeros(config.data.clients, dtype=np.uint8)
    has_row[sorted(held)] = 1
    # Not the leaders' alone: a rank that outlives its node's leader takes its place.
    wait_all([world.node.Ibcast(has_row, root=0)])
    taken_part = frozenset(np.flatnonzero(has_row).tolist())
    return Start(round, broadcast, taken_part, found.saved.state if found is not None else None)
