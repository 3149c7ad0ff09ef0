import dataclasses
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.config.algorithm import AlgorithmConfig
from fedcomloc_mpi.config.data import DataConfig
from fedcomloc_mpi.config.datasets import DATASETS
from fedcomloc_mpi.config.options import Interval, nearest, option, shown
from fedcomloc_mpi.config.resolve import make_config
from fedcomloc_mpi.config.table import GROUPS, OPTIONS
from fedcomloc_mpi.config.tree import Config, to_flat
from fedcomloc_mpi.errors import UserError
from tests.config.strategies import allowed


def test_names_are_unique_and_groups_are_the_fields_of_the_tree():
    assert sum(len(options) for options in GROUPS.values()) == len(OPTIONS)
    assert [field.name for field in dataclasses.fields(Config)] == list(GROUPS)


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_complete(name):
    each = OPTIONS[name]
    assert each.help
    assert each.help[0].islower() or each.name == "initial"
    assert each.optional == bool(each.unset), "an option that can stay unset says what happens then"
    assert each.kind is bool or each.metavar
    assert (each.kind in (int, float)) == bool(each.bounds)
    if each.follows is not None:
        general = OPTIONS[each.follows]
        assert (each.kind, each.bounds, each.choices) == (general.kind, general.bounds, general.choices)
        assert each.neutral == general.neutral
        assert each.direction in ("uplink", "downlink")
    elif not each.by_dataset:
        assert each.check(each.default, name) == each.default


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_data_set_has_valid_defaults(dataset):
    flat = to_flat(make_config(dataset=dataset))
    for field in dataclasses.fields(DATASETS[dataset]):
        assert OPTIONS[field.name].by_dataset
        assert flat[field.name] == getattr(DATASETS[dataset], field.name)
    assert {each.name for each in OPTIONS.values() if each.by_dataset} == {
        field.name for field in dataclasses.fields(DATASETS[dataset])
    }


@settings(deadline=None)
@given(data=st.data(), name=st.sampled_from(list(OPTIONS)))
def test_allowed_values_are_accepted_as_they_are(data, name):
    value = data.draw(allowed(OPTIONS[name]))
    checked = OPTIONS[name].check(value, "here")
    assert checked == value
    assert type(checked) is OPTIONS[name].kind


@settings(deadline=None)
@given(
    value=st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers())
    ),
    name=st.sampled_from(list(OPTIONS)),
)
def test_any_value_is_accepted_exactly_or_refused_in_one_line(value, name):
    each = OPTIONS[name]
    try:
        checked = each.check(value, f"{name} in my.toml")
    except UserError as error:
        message = str(error)
    else:
        assert checked == value
        assert isinstance(value, bool) == (each.kind is bool) or value is None
        return
    assert message.isprintable()
    assert message.startswith(f"{name} in my.toml is ")
    assert each.requirement in message


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        (
            "density",
            [1e-9, 0.1, 1.0, 1],
            [0, -0.1, 1.5, 1.0000000000000002, math.nan, math.inf, True, "0.1", 10**400],
        ),
        ("bits", [1, 8, 16, 32], [0, 17, 31, 33, -1, 8.0, True, "8"]),
        ("p", [1e-6, 0.1, 1], [0, -1, 1.1, 5e-324, math.nan]),
        ("lr", [1e-300, 0.05, 10], [0, -0.0, -0.1, math.nan, math.inf, -math.inf]),
        ("seed", [0, 2**63 - 1], [-1, 2**63, 1.0, 10**5000]),
        ("threads", [1, 1024], [0, 1025]),
        ("cohort", [1, 10], [0, -1]),
        ("clients", [1, 100], [0, False]),
        ("batch_size", [0, 64], [-1]),
        ("server_step", [0.1, 1, 10], [0, -1, 11, math.nan]),
        ("lr_decay_rounds", [None, 1], [0]),
        ("lr_decay_factor", [0.1, 1], [0, 2]),
        ("weight_decay", [0, 0.1], [-0.1, math.inf]),
        ("clip_norm", [None, 0.1], [0, -1]),
        ("feddyn_alpha", [0.01, 10], [0, -1]),
        ("weighting", ["plain", "samples"], ["uniform", None]),
        ("lr_schedule", ["constant", "step", "cosine"], ["linear", None]),
        ("compressor", ["topk"], ["randk", None]),
        ("rounds", [1], [0]),
        ("eval_every", [1], [0]),
        ("alpha", [0.001, 0.7, 1e6], [0, -1, math.nan, 1e7]),
        ("target_accuracy", [None, 0.9, 1.0], [0, 1.1, "none"]),
        ("dataset", ["digits", "cifar10"], ["Digits", "", 10, None]),
        ("download", [True, False], [0, 1, "yes", None]),
        ("data_dir", [None, "a b", "\n\u00e9\U0001f600"], ["", "a\0b", "\udc80", 1]),
        ("reference", ["on", "off"], [True, False, "ON"]),
    ],
)
def test_bounds(name, inside, outside):
    for value in inside:
        assert OPTIONS[name].check(value, name) == value
    for value in outside:
        with pytest.raises(UserError):
            OPTIONS[name].check(value, name)


def test_numbers_of_other_types_become_plain_ones():
    numpy = pytest.importorskip("numpy")
    config = make_config(clients=numpy.int64(30), density=numpy.float64(0.25), lr=1)
    assert type(config.data.clients) is int
    assert type(config.compression.density) is float
    assert type(config.algorithm.lr) is float


def test_a_configuration_that_exists_is_valid():
    config = make_config()
    with pytest.raises(UserError, match="density"):
        dataclasses.replace(config.compression, density=0.0)
    with pytest.raises(UserError, match="cohort is 50: it must be at most clients, which is 20"):
        dataclasses.replace(config, data=dataclasses.replace(config.data, cohort=50))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.data.cohort = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        DataConfig()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("desnity", "density"),
        ("batch-size", "batch_size"),
        ("Batch_Size", "batch_size"),
        ("algo", "algorithm"),
        ("learning_rate", None),
        ("", None),
        ("zzzzzz", None),
    ],
)
def test_nearest(wrong, right):
    assert nearest(wrong, OPTIONS) == right


def test_intervals_say_what_they_contain():
    assert str(Interval(0, 1, above=True)) == "above 0 and at most 1"
    assert str(Interval(0, above=True)) == "above 0 and finite"
    assert str(Interval(0, 2**63 - 1)) == "0 to 2^63-1"
    assert str(Interval(32, 32)) == "32"
    assert str(Interval(1)) == "1 or more"


def test_values_are_shown_on_one_short_line():
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 10**6)) < 100
    assert shown(10**5000) == "an integer of 16610 bits"


def test_an_option_needs_one_source_of_its_default():
    with pytest.raises(TypeError):
        option(1, help="two", by_dataset=True)
    with pytest.raises(TypeError):
        option(help="none")


def test_importing_the_configuration_imports_nothing_heavy():
    code = (
        "import sys, fedcomloc_mpi.config; "
        "print(sorted({'torch', 'torchvision', 'numpy', 'mpi4py', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_groups_need_no_tree():
    assert AlgorithmConfig(lr=0.1, batch_size=0, rounds=3).algorithm == "fedcomloc-com"
