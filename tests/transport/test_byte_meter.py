import pytest
from mpi4py import MPI

from fedcomloc_mpi.transport.byte_meter import ByteMeter
from tests.transport.worlds import world_of


@pytest.mark.mpi(min_size=2)
def test_every_rank_is_told_when_the_meters_disagree() -> None:
    world = world_of(MPI.COMM_WORLD)
    for culprit in range(world.size):
        for direction in ("uplink", "downlink"):
            meter = ByteMeter(uplink=100, downlink=100)
            if world.is_server:
                meter = ByteMeter(uplink=100 * (world.size - 1), downlink=100 * (world.size - 1))
            meter.check(world)
            if world.rank == culprit:
                setattr(meter, direction, getattr(meter, direction) + 1)
            with pytest.raises(RuntimeError, match=f"^{direction}: .* disagree by -?1 bytes"):
                meter.check(world)


def test_restarted_meters_give_what_is_due() -> None:
    meter = ByteMeter(uplink=100, downlink=40)
    assert meter.take() == (100, 40)
    meter.uplink += 7
    meter.restart()
    assert (meter.uplink, meter.downlink) == (0, 0)
    meter.downlink += 5
    assert meter.take() == (7, 5)
    assert meter.take() == (0, 0)
