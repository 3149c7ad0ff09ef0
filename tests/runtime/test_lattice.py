import pytest

from fedcomloc_mpi.algorithms import ALGORITHMS
from fedcomloc_mpi.algorithms.fedavg import SparseFedAvg
from fedcomloc_mpi.config import Config, make_config
from fedcomloc_mpi.errors import AgreedError
from fedcomloc_mpi.runtime.lattice import refuse_lattice_without_references


def job(**options: object) -> Config:
    return make_config(dataset="digits", **options)


class Unlike(SparseFedAvg):
    """Uploads that resemble nothing that was broadcast."""

    uplink_references = (None,)


def test_levels_need_a_reference_to_be_on_its_lattice() -> None:
    shared = job(algorithm="sparsefedavg", bits=8, lattice="shared")
    with pytest.raises(AgreedError, match=r"lattice is shared: .* in the uplink .*; use --lattice own"):
        refuse_lattice_without_references(shared, Unlike())


@pytest.mark.parametrize("bits", [8, 32])
def test_what_has_references_or_its_own_scales_is_accepted(bits: int) -> None:
    refuse_lattice_without_references(job(algorithm="sparsefedavg", bits=bits), Unlike())
    shared = job(algorithm="fedcomloc-com", bits=8, downlink_bits=bits, lattice="shared")
    refuse_lattice_without_references(shared, ALGORITHMS["fedcomloc-com"]())
