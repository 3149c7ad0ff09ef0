import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.config.resolve import make_config
from fedcomloc_mpi.config.table import OPTIONS
from fedcomloc_mpi.config.toml import check_table, format_value, parse_toml, read_toml, to_toml
from fedcomloc_mpi.config.tree import to_flat
from fedcomloc_mpi.errors import UserError
from tests.config.strategies import chosen_values


def refusal(text, tmp_path, name="my.toml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        read_toml(str(path))
    message = str(caught.value)
    assert message.isprintable()
    assert name in message
    return message


@settings(deadline=None)
@given(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
    )
)
def test_every_scalar_survives(value):
    read = tomllib.loads(f"key = {format_value(value)}\n")["key"]
    assert read == value
    assert repr(read) == repr(value)


@settings(deadline=None)
@given(chosen_values())
def test_a_configuration_survives_exactly(values):
    config = make_config(**values)
    read = check_table(parse_toml(to_toml(config).encode(), "here"), "here")
    again = make_config(**read)
    assert to_flat(again) == {**to_flat(config), "out": None}
    assert to_toml(again) == to_toml(config)


def test_config_toml_is_one_flat_table_of_every_value_that_is_set():
    config = make_config(out="somewhere", data_dir="data")
    table = tomllib.loads(to_toml(config))
    assert table == {
        name: value for name, value in to_flat(config).items() if value is not None and OPTIONS[name].saved
    }
    assert table["density"] == 0.1
    assert table["bits"] == 32
    assert table["batch_size"] == 32
    assert not {"out", "config", "resume", "initial", "target_accuracy"} & table.keys()


def test_density_and_bits_are_present_without_compression():
    table = tomllib.loads(to_toml(make_config(algorithm="scaffnew")))
    assert (table["density"], table["bits"]) == (1.0, 32)


def test_keys_may_be_spelled_as_flags(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("batch-size = 5\nlocal_steps = 'fixed'\nlr = 1\n")
    assert read_toml(str(path)) == {"batch_size": 5, "local_steps": "fixed", "lr": 1.0}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("density = 1.5", ["density in", "is 1.5", "a number, above 0 and at most 1"]),
        ("density = true", ["density in", "is True", "a number"]),
        ("density = '0.1'", ["is '0.1'", "a number"]),
        ("cohort = 10.0", ["cohort in", "is 10.0", "an integer"]),
        ("cohort = true", ["is True", "an integer"]),
        ("rounds = 0x" + "f" * 5000, ["an integer of 20000 bits"]),
        ("lr = nan", ["lr in", "is nan", "above 0 and finite"]),
        ("lr = -inf", ["lr in", "is -inf"]),
        ("download = 'yes'", ["true or false"]),
        ("reference = true", ["on or off"]),
        ("dataset = 'mnsit'", ["did you mean mnist?"]),
        ("data_dir = ''", ["a path"]),
        ('data_dir = "a\\u0000b"', ["a path"]),
        ("seed = 1979-05-27", ["seed in", "an integer"]),
        ("seed = [1, 2]", ["is [1, 2]"]),
        ("desnity = 0.1", ["unknown key 'desnity'", "did you mean density?"]),
        ("learning_rate = 0.1", ["unknown key", "did you mean lr?"]),
        ("zzz = 0.1", ["unknown key 'zzz'", "--help"]),
        ("config = 'other.toml'", ["unknown key 'config'"]),
        ("'a\\nb' = 1", ["unknown key"]),
        ("[algorithm]\np = 0.1", ["section 'algorithm'", "flat"]),
        ("algorithm.p = 0.1", ["section"]),
        ("batch-size = 1\nbatch_size = 1", ["batch_size twice"]),
        ("p = 0.1\np = 0.2", ["not valid TOML", "overwrite"]),
        ("p = \nseed = 1", ["not valid TOML", "line 1"]),
        ("density: 0.1", ["not valid TOML"]),
        (b"p = 0.1 # \xff", ["not valid TOML", "byte 10 is not UTF-8"]),
        ("seed = " + "[" * 100_000, ["not valid TOML", "nested too deeply"]),
        ("seed = " + "9" * 10_000, ["not valid TOML"]),
        (b"#" * (2 << 20), ["larger than"]),
    ],
)
def test_bad_files_are_refused_in_one_line(text, parts, tmp_path):
    message = refusal(text, tmp_path)
    for part in parts:
        assert part in message


def test_a_strange_file_name_stays_on_one_line(tmp_path):
    path = tmp_path / "a\nb.toml"
    path.write_text("density = 2")
    with pytest.raises(UserError) as caught:
        read_toml(str(path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", ["missing.toml", ".", "", "a\0b", "my.toml/x"])
def test_unreadable_files_are_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text("")
    with pytest.raises(UserError, match="--config: cannot read ") as caught:
        read_toml(path)
    assert str(caught.value).isprintable()


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "ignore")))
)
def test_any_bytes_are_read_or_refused(contents):
    try:
        values = check_table(parse_toml(contents, "my.toml"), "my.toml")
    except UserError as error:
        message = str(error)
    else:
        assert values.keys() <= OPTIONS.keys()
        return
    assert message.isprintable()
