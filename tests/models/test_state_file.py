import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.models import FlatModel, build, load_state, state_bytes


@pytest.fixture
def model() -> FlatModel:
    return FlatModel(build("mlp", (4,), 2, seed=0))


def test_file_is_plain_torch(model: FlatModel, tmp_path: Path) -> None:
    (tmp_path / "final.pt").write_bytes(state_bytes(model.state_dict_of(model.vector)))
    loaded = torch.load(tmp_path / "final.pt", weights_only=True)
    assert list(loaded) == list(model.module.state_dict())
    build("mlp", (4,), 2, seed=1).load_state_dict(loaded)
    assert torch.equal(model.vector_from_state(load_state(tmp_path / "final.pt"), "final.pt"), model.vector)


def test_equal_states_give_equal_bytes(model: FlatModel) -> None:
    first = state_bytes(model.state_dict_of(model.vector))
    assert state_bytes(model.state_dict_of(model.vector.clone())) == first
    assert state_bytes(model.state_dict_of(model.vector + 1)) != first


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*absent.pt: No such file"):
        load_state(tmp_path / "absent.pt")


def test_no_state_in_file(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds no state_dict"):
        load_state(tmp_path / "list.pt")


class Payload:
    """Pickles as a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"weight": Payload(trace)}, tmp_path / "evil.pt")
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps({"weight": Payload(trace)}))
    for name in ("evil.pt", "evil.pickle"):
        with pytest.raises(UserError, match=f"{name} is not a state_dict"):
            load_state(tmp_path / name)
    assert not trace.exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_refused_or_harmless(model: FlatModel, tmp_path: Path, data: st.DataObject) -> None:
    whole = state_bytes(model.state_dict_of(model.vector))
    damaged = bytearray(whole[: data.draw(st.sampled_from([len(whole), len(whole) // 2, 100, 0]))])
    if damaged:
        for _ in range(data.draw(st.integers(0, 3))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.pt"
    path.write_bytes(damaged)
    try:
        vector = model.vector_from_state(load_state(path), "damaged.pt")
    except UserError:
        return
    assert vector.shape == model.vector.shape
