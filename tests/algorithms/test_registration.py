from typing import Any

import pytest

from fedcomloc_mpi.algorithms import ALGORITHMS, register_algorithm
from fedcomloc_mpi.algorithms.fedavg import FedAvg
from fedcomloc_mpi.config import METHODS, Method, load_config
from fedcomloc_mpi.errors import UserError


def test_the_algorithms_are_those_that_can_be_configured() -> None:
    assert list(ALGORITHMS) == list(METHODS)


def test_both_tables_agree_on_control_variates() -> None:
    for name, method in METHODS.items():
        assert (ALGORITHMS[name].control_vectors > 0) == method.uses_control_variates, name
        assert method.takes_compression or not (method.compresses_uplink or method.compresses_downlink)


def test_references_are_vectors_of_the_broadcast() -> None:
    for algorithm in ALGORITHMS.values():
        down = len(algorithm.downlink_references)
        assert algorithm.uplink_references and algorithm.downlink_references[0] == 0
        for number in (*algorithm.uplink_references, *algorithm.downlink_references):
            assert number is None or 0 <= number < down


def test_options_reach_the_algorithms_that_have_some() -> None:
    options = load_config(["--algorithm", "feddyn", "--feddyn-alpha", "0.5"]).config.algorithm
    for algorithm in ALGORITHMS.values():
        assert isinstance(algorithm.configured(options), algorithm)
    assert vars(ALGORITHMS["feddyn"].configured(options)) == {"_alpha": 0.5}


def test_a_registered_algorithm_is_a_choice_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[dict[str, Any]] = [ALGORITHMS, METHODS]
    for table in tables:  # so that what is registered here goes again
        monkeypatch.setitem(table, "mine", table["fedavg"])
        del table["mine"]
    register_algorithm("mine", FedAvg, Method(takes_compression=True, compresses_uplink=True))
    config = load_config(["--algorithm", "mine", "--density", "0.3", "--cohort", "1"]).config
    assert config.compression.uplink_density == 0.3
    with pytest.raises(UserError, match="mine"):
        load_config(["--algorithm", "scaffnew", "--density", "0.3"])
    with pytest.raises(ValueError, match="already"):
        register_algorithm("mine", FedAvg, Method())
    with pytest.raises(ValueError, match="already"):
        register_algorithm("fedavg", FedAvg, Method())
