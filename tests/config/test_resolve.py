import pytest
from hypothesis import given, settings

from fedcomloc_mpi.config import COMPRESSORS, METHODS, load_config, make_config, to_flat, to_toml
from fedcomloc_mpi.config.methods import Method
from fedcomloc_mpi.config.table import OPTIONS
from fedcomloc_mpi.errors import UserError
from tests.config.strategies import as_flags, chosen_values


@pytest.fixture
def more_methods(monkeypatch):
    """Algorithms of every kind, whichever this version offers."""
    monkeypatch.setitem(METHODS, "both-ways", Method(True, True, True, True))
    monkeypatch.setitem(METHODS, "down-only", Method(True, True, False, True))
    monkeypatch.setitem(METHODS, "neither-way", Method(True, True, False, False))
    monkeypatch.setitem(METHODS, "plain-average", Method(False, False, False, False))
    monkeypatch.setitem(COMPRESSORS, "mine", None)


def written(tmp_path, text, name="my.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def lossy(config):
    compression = config.compression
    return (
        compression.uplink_density,
        compression.uplink_bits,
        compression.downlink_density,
        compression.downlink_bits,
    )


def test_defaults_are_those_of_the_design():
    config = load_config([]).config
    assert config.algorithm.algorithm == "fedcomloc-com"
    assert (config.compression.density, config.compression.bits) == (0.1, 32)
    assert (config.algorithm.p, config.algorithm.local_steps, config.algorithm.seed) == (0.1, "geometric", 0)
    assert (config.data.dataset, config.data.partition, config.data.alpha) == ("digits", "dirichlet", 0.7)
    assert (config.runtime.eval_every, config.runtime.threads) == (10, 1)
    assert config.runtime.exchange == "collectives"
    assert (config.compression.uplink_reference, config.compression.downlink_reference) == ("on", "on")


@pytest.mark.parametrize("dataset", ["mnist", "fashionmnist"])
def test_fedmnist(dataset):
    config = load_config(["--dataset", dataset]).config
    assert (config.data.clients, config.data.cohort, config.data.model) == (100, 10, "mlp")
    assert (config.algorithm.lr, config.algorithm.batch_size, config.algorithm.rounds) == (0.05, 64, 500)
    assert config.data.min_samples == 10


@settings(deadline=None)
@given(values=chosen_values())
def test_flags_files_and_python_agree(values, tmp_path_factory):
    by_flags = load_config(as_flags(values))
    assert by_flags.config == make_config(**values)
    assert {name for name, source in by_flags.sources.items() if source == "flag"} == values.keys()
    assert by_flags.sources.keys() == OPTIONS.keys()

    path = written(tmp_path_factory.mktemp("config"), to_toml(by_flags.config))
    by_file = load_config(["--config", path])
    assert to_flat(by_file.config) == {**to_flat(by_flags.config), "out": None}
    for name, value in to_flat(by_file.config).items():
        assert by_file.sources[name] == (
            "default" if value is None or not OPTIONS[name].saved else f"file {path}"
        )


def test_a_flag_wins_over_the_file_and_sources_say_so(tmp_path):
    path = written(tmp_path, "lr = 0.5\nseed = 7\ndataset = 'mnist'\n")
    resolved = load_config(["--seed", "8", "--config", path])
    assert (resolved.config.algorithm.lr, resolved.config.algorithm.seed) == (0.5, 8)
    sources = resolved.sources
    assert sources["lr"] == sources["dataset"] == f"file {path}"
    assert sources["seed"] == "flag"
    assert sources["rounds"] == "dataset default"
    assert sources["p"] == "default"
    assert sources["uplink_density"] == "derived"


def test_a_false_in_the_file_can_be_overruled_both_ways(tmp_path):
    path = written(tmp_path, "download = true\n")
    assert load_config(["--config", path]).config.data.download is True
    assert load_config(["--config", path, "--no-download"]).config.data.download is False


def test_the_data_set_of_the_file_decides_defaults(tmp_path):
    path = written(tmp_path, "dataset = 'cifar10'\n")
    assert load_config(["--config", path]).config.data.model == "cnn"
    assert load_config(["--config", path, "--dataset", "mnist"]).config.data.model == "mlp"


@pytest.mark.usefixtures("more_methods")
@pytest.mark.parametrize(
    ("algorithm", "flags", "expected"),
    [
        ("fedcomloc-com", [], (0.1, 32, 1.0, 32)),
        ("fedcomloc-com", ["--density", "0.2", "--bits", "8"], (0.2, 8, 1.0, 32)),
        ("fedcomloc-com", ["--downlink-density", "0.5"], (0.1, 32, 0.5, 32)),
        ("fedcomloc-com", ["--downlink-bits", "8", "--uplink-bits", "4"], (0.1, 4, 1.0, 8)),
        ("fedcomloc-com", ["--density", "1", "--uplink-density", "0.3"], (0.3, 32, 1.0, 32)),
        ("both-ways", ["--bits", "8"], (0.1, 8, 0.1, 8)),
        ("down-only", ["--bits", "8"], (1.0, 32, 0.1, 8)),
        ("down-only", ["--uplink-density", "0.2"], (0.2, 32, 0.1, 32)),
        ("neither-way", ["--bits", "8"], (1.0, 32, 1.0, 32)),
        ("neither-way", ["--uplink-density", "0.3"], (0.3, 32, 1.0, 32)),
        ("scaffnew", [], (1.0, 32, 1.0, 32)),
        ("fedcomloc-local", ["--bits", "8"], (1.0, 32, 1.0, 32)),
        ("fedcomloc-global", ["--bits", "8"], (1.0, 32, 0.1, 8)),
        ("fedcomloc-global", ["--uplink-density", "0.3"], (0.3, 32, 0.1, 32)),
        ("sparsefedavg", [], (0.1, 32, 1.0, 32)),
        ("fedavg", [], (1.0, 32, 1.0, 32)),
        ("scaffold", [], (1.0, 32, 1.0, 32)),
        ("feddyn", [], (1.0, 32, 1.0, 32)),
    ],
)
def test_each_direction_follows_the_algorithm_unless_told_otherwise(algorithm, flags, expected):
    assert lossy(load_config(["--algorithm", algorithm, *flags]).config) == expected


def test_reference_sets_both_directions():
    def references(*flags):
        compression = load_config(flags).config.compression
        return compression.uplink_reference, compression.downlink_reference

    assert references() == ("on", "on")
    assert references("--reference", "off") == ("off", "off")
    assert references("--reference", "off", "--uplink-reference", "on") == ("on", "off")
    assert references("--downlink-reference", "off") == ("on", "off")


@pytest.mark.usefixtures("more_methods")
@pytest.mark.parametrize(
    ("run", "flags", "expected"),
    [
        ([], ["--density", "0.2"], (0.2, 32, 1.0, 32)),
        ([], ["--algorithm", "down-only"], (1.0, 32, 0.1, 32)),
        ([], ["--algorithm", "scaffnew", "--density", "1"], (1.0, 32, 1.0, 32)),
        (
            ["--algorithm", "scaffnew"],
            ["--algorithm", "fedcomloc-com", "--density", "0.3"],
            (0.3, 32, 1.0, 32),
        ),
        (["--uplink-density", "0.3"], [], (0.3, 32, 1.0, 32)),
        (["--uplink-density", "0.3"], ["--bits", "8"], (0.3, 8, 1.0, 32)),
        (["--uplink-density", "0.3"], ["--density", "0.2"], (0.2, 32, 1.0, 32)),
        (["--downlink-density", "0.3"], ["--density", "0.2"], (0.2, 32, 0.3, 32)),
        (["--downlink-bits", "8"], ["--algorithm", "both-ways"], (0.1, 32, 0.1, 8)),
    ],
)
def test_flags_beside_the_config_toml_of_a_run(run, flags, expected, tmp_path):
    path = written(tmp_path, to_toml(load_config(run).config))
    assert lossy(load_config(["--config", path, *flags]).config) == expected


def test_reference_beside_the_config_toml_of_a_run(tmp_path):
    path = written(tmp_path, to_toml(load_config(["--uplink-reference", "off"]).config))
    compression = load_config(["--config", path, "--reference", "on"]).config.compression
    assert (compression.uplink_reference, compression.downlink_reference) == ("on", "on")


@pytest.mark.usefixtures("more_methods")
@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--cohort", "21"], ["--cohort is 21: it must be at most clients (dataset default), which is 20"]),
        (["--clients", "5"], ["cohort (dataset default) is 10: it must be at most --clients, which is 5"]),
        (["--cohort", "1"], ["--cohort is 1: it must be 2 or more", "fedcomloc-com uses control variates"]),
        (["--cohort", "1", "--algorithm", "scaffnew"], ["scaffnew uses control variates"]),
        (
            ["--algorithm", "scaffnew", "--density", "0.1"],
            ["--density is 0.1: scaffnew sends uncompressed float32", "--algorithm fedcomloc-com"],
        ),
        (
            ["--algorithm", "plain-average", "--density", "0.1"],
            ["plain-average sends", "fedcomloc-com, ", "sparsefedavg, both-ways"],
        ),
        *(
            (["--algorithm", name, "--density", "0.5"], [f"{name} sends", "fedcomloc-com, ", "sparsefedavg"])
            for name in ("scaffnew", "fedavg", "scaffold", "feddyn")
        ),
        (["--algorithm", "fedavg", "--compressor", "mine"], ["--compressor is mine: fedavg sends"]),
        (["--lr-schedule", "cosine"], ["--lr-schedule is cosine: it needs --lr-decay-rounds"]),
        (["--algorithm", "scaffnew", "--bits", "8"], ["--bits is 8: scaffnew", "only 32"]),
        (["--algorithm", "scaffnew", "--quant-norm", "l2"], ["--quant-norm is l2: scaffnew", "only max"]),
        (["--algorithm", "scaffnew", "--uplink-density", "0.5"], ["--uplink-density is 0.5: scaffnew"]),
        (["--algorithm", "scaffnew", "--downlink-bits", "8"], ["--downlink-bits is 8: scaffnew"]),
        (["--lattice", "shared"], ["--lattice is shared, but nothing is quantized: give --bits"]),
        (
            ["--lattice", "shared", "--bits", "8", "--quant-norm", "l2"],
            ["--lattice is shared: --quant-norm must then be max, not l2"],
        ),
        (
            ["--lattice", "shared", "--bits", "8", "--reference", "off"],
            ["--lattice is shared", "uplink_reference (derived) must be on"],
        ),
        (
            ["--lattice", "shared", "--downlink-bits", "8", "--downlink-reference", "off"],
            ["--downlink-reference must be on"],
        ),
    ],
)
def test_values_that_exclude_one_another(flags, parts):
    with pytest.raises(UserError) as caught:
        load_config(flags)
    assert str(caught.value).isprintable()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.usefixtures("more_methods")
def test_a_cohort_of_one_is_for_algorithms_without_control_variates():
    assert load_config(["--algorithm", "plain-average", "--cohort", "1"]).config.data.cohort == 1


def test_messages_name_the_file(tmp_path):
    path = written(tmp_path, "cohort = 30\nalgorithm = 'scaffnew'\ndensity = 0.5\n")
    with pytest.raises(UserError, match=r"^cohort in .*my\.toml is 30: it must be at most clients \(dataset"):
        load_config(["--config", path])
    with pytest.raises(UserError, match=r"^density in .*my\.toml is 0\.5: scaffnew sends"):
        load_config(["--config", path, "--cohort", "3"])


def test_no_loss_is_accepted_without_compression():
    flags = ["--algorithm", "scaffnew", "--density", "1", "--bits", "32", "--uplink-density", "1.0"]
    assert load_config(flags).config == make_config(algorithm="scaffnew")


def test_make_config_changes_another_one():
    base = make_config(algorithm="scaffnew", seed=3, out="here")
    changed = make_config(base, algorithm="fedcomloc-com", density=0.5)
    assert changed.algorithm.seed == 3
    assert changed.runtime.out == "here"
    assert lossy(changed) == (0.5, 32, 1.0, 32)
    assert make_config(base) == base


def test_make_config_refuses_unknown_names():
    with pytest.raises(UserError, match=r"unknown option 'desnity': did you mean density\?"):
        make_config(desnity=0.1)
    with pytest.raises(UserError, match=r"^cohort is 30: it must be at most clients"):
        make_config(cohort=30)
