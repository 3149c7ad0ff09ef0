"""The exchanges, by the names that `--exchange` takes."""

from fedcomloc_mpi.transport.collectives import CollectiveExchange
from fedcomloc_mpi.transport.exchange import Exchange
from fedcomloc_mpi.transport.p2p import PointToPointExchange

EXCHANGES: dict[str, type[Exchange]] = {
    "collectives": CollectiveExchange,
    "p2p": PointToPointExchange,
}
