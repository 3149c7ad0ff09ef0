from fedcomloc_mpi.algorithms import ALGORITHMS
from fedcomloc_mpi.config import METHODS


def test_the_registered_algorithms_are_those_that_can_be_configured() -> None:
    assert list(ALGORITHMS) == list(METHODS)


def test_both_tables_agree_on_control_variates() -> None:
    for name, method in METHODS.items():
        assert (ALGORITHMS[name].control_vectors > 0) == method.uses_control_variates, name


def test_something_travels_both_ways() -> None:
    for algorithm in ALGORITHMS.values():
        assert algorithm.uplink_vectors >= 1
        assert algorithm.downlink_vectors >= 1
