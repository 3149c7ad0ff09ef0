"""Which coders the ranks agree on. The communicator here stands for several ranks, one of them without a compiler."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedcomloc_mpi.compressors import build
from fedcomloc_mpi.config import Config, make_config, method_compression, to_toml
from fedcomloc_mpi.errors import AgreedError
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.runtime import coders
from fedcomloc_mpi.runtime.coders import agree_on_coders, left_out
from fedcomloc_mpi.runtime.coding_time import fastest_coders
from fedcomloc_mpi.wire import ALWAYS, available, every, names, numbered
from fedcomloc_mpi.wire.index_coders import INDEX_CODERS
from fedcomloc_mpi.wire.value_coders import VALUE_CODERS

LAYOUT = Layout([5000, 10, 990])
MODEL = np.random.default_rng(0).standard_normal(LAYOUT.size).astype(np.float32)
NUMPY = ALWAYS | numbered(["rice"])


class Ranks:
    """The communicator of the server among ranks of which one has the coders `elsewhere`."""

    def __init__(self, elsewhere: int) -> None:
        self._elsewhere = elsewhere

    def Iallreduce(self, mine: np.ndarray, common: np.ndarray, op: Any) -> Any:
        common[:] = mine & self._elsewhere
        return SimpleNamespace(Test=lambda: True)

    def Ibcast(self, buffer: np.ndarray, root: int) -> Any:
        return SimpleNamespace(Test=lambda: True)


def agree(config: Config, elsewhere: int | None = None, before: int = 0) -> tuple[int, Config]:
    world: Any = SimpleNamespace(is_server=True, comm=Ranks(every() if elsewhere is None else elsewhere))
    uplink, downlink = (build(direction, LAYOUT) for direction in method_compression(config))
    return agree_on_coders(world, config, uplink, downlink, MODEL, LAYOUT, before)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coders, "wait_all", lambda requests: None)


def test_config_and_wire_know_the_same_coders() -> None:
    from fedcomloc_mpi.config.coders import CODERS
    from fedcomloc_mpi.config.coders import INDEX_CODERS as INDEX_NAMES

    assert names(every()) == CODERS
    assert tuple(coder.name for coder in INDEX_CODERS.values()) == INDEX_NAMES
    assert len(VALUE_CODERS) + len(INDEX_CODERS) == len(CODERS)


def test_all_that_every_rank_has_are_used() -> None:
    config = make_config()
    assert agree(config) == (available(), config)
    assert agree(config, NUMPY) == (NUMPY, config)
    assert "tokens" in left_out(NUMPY) and "rice" not in left_out(NUMPY)
    assert left_out(every()) == ()


def test_named_coders_compete_beside_those_that_write_anything() -> None:
    config = make_config(coders="rice")
    assert agree(config) == (NUMPY, config)
    assert agree(config, NUMPY) == (NUMPY, config)


def test_a_named_coder_that_a_rank_lacks_is_refused() -> None:
    with pytest.raises(
        AgreedError, match=r"coders is tokens,rice: tokens cannot be used.*without a C compiler"
    ):
        agree(make_config(coders="tokens,rice"), NUMPY)


@pytest.mark.parametrize("options", [{}, {"bits": 8}, {"bits": 8, "lattice": "shared"}, {"density": 1.0}])
def test_what_is_found_fastest_is_stored_and_used_again(options: dict[str, Any]) -> None:
    chosen, config = agree(make_config(objective="time", bandwidth=50.0, **options))
    assert chosen & ALWAYS == ALWAYS and not chosen & ~available()
    assert config.compression.coders == ",".join(names(chosen))
    assert f'coders = "{config.compression.coders}"' in to_toml(config)
    assert agree(config) == (chosen, config)


def test_a_fast_link_needs_no_coding_and_a_slow_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(density=0.1)
    uplink, downlink = (build(direction, LAYOUT) for direction in method_compression(config))
    slow = fastest_coders(available(), 1e-3, uplink, downlink, MODEL, LAYOUT)
    assert slow & ~ALWAYS
    fast = fastest_coders(available(), 1e9, uplink, downlink, MODEL, LAYOUT)
    assert "float32-differences" not in names(fast)


def test_a_run_that_goes_on_keeps_its_coders() -> None:
    """A machine that has more of them must not write other bytes than before; one that has fewer cannot go on."""
    assert agree(make_config(), before=NUMPY) == (NUMPY, make_config())
    config = make_config(coders="rice", objective="time")
    assert agree(config, before=every()) == (ALWAYS | numbered(["rice"]), config)
    with pytest.raises(AgreedError, match="without a C compiler"):
        agree(make_config(), elsewhere=NUMPY, before=every())
