"""--resume takes the settings of the run's folder, and only what leaves the results as they are may change."""

import pytest

from fedcomloc_mpi.config import OPTIONS, load_config, make_config, to_flat, to_toml
from fedcomloc_mpi.errors import UserError


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "a run"
    folder.mkdir()
    config = make_config(dataset="digits", rounds=40, density=0.25, seed=7, exchange="p2p", threads=2)
    (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
    return folder, config


def test_needs_no_other_flag(run):
    folder, config = run
    resumed = load_config(["--resume", str(folder)]).config
    assert resumed.runtime.resume == str(folder)
    assert to_flat(resumed) == to_flat(config) | {"resume": str(folder)}


@pytest.mark.parametrize(
    "flags",
    [
        ["--rounds", "80"],
        ["--data-dir", "elsewhere"],
        ["--exchange", "collectives"],
        ["--checkpoint-every", "3"],
        ["--keep-checkpoints", "1"],
        ["--round-timeout", "20.0"],
        ["--state-dir", "/var/tmp"],
    ],
)
def test_what_may_change(run, flags):
    folder, _ = run
    config = load_config(["--resume", str(folder), *flags]).config
    name = flags[0][2:].replace("-", "_")
    assert OPTIONS[name].may_change
    assert str(to_flat(config)[name]) == flags[1]


@pytest.mark.parametrize(
    "flags",
    [
        ["--lr", "0.01"],
        ["--density", "0.5"],
        ["--seed", "8"],
        ["--clients", "10"],
        ["--algorithm", "scaffnew", "--density", "1"],
        ["--threads", "1"],
        ["--eval-every", "3"],
        ["--target-accuracy", "0.9"],
    ],
)
def test_what_may_not(run, flags):
    folder, _ = run
    with pytest.raises(UserError, match="--allow-config-change"):
        load_config(["--resume", str(folder), *flags])
    changed = load_config(["--resume", str(folder), "--allow-config-change", *flags]).config
    assert str(to_flat(changed)[flags[0][2:].replace("-", "_")]) == flags[1]


def test_equal_values_are_no_change(run):
    folder, _ = run
    load_config(["--resume", str(folder), "--density", "0.25", "--seed", "7"])


def test_neither_config_nor_out(run):
    folder, _ = run
    for flag in ("--config", "--out"):
        with pytest.raises(UserError, match=flag):
            load_config(["--resume", str(folder), flag, str(folder / "config.toml")])


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(UserError, match=r"no run is there"):
        load_config(["--resume", str(tmp_path)])


def test_a_file_cannot_resume(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('resume = "somewhere"\n')
    with pytest.raises(UserError, match="must be a flag"):
        load_config(["--config", str(path)])


def test_an_empty_file_is_refused(run):
    folder, _ = run
    (folder / "config.toml").write_bytes(b"")
    with pytest.raises(UserError, match=r"config\.toml is empty"):
        load_config(["--resume", str(folder)])
