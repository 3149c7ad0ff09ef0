import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.config.flags import COMMANDS, parse_flags
from fedcomloc_mpi.config.table import OPTIONS
from fedcomloc_mpi.errors import UserError
from tests.config.strategies import allowed, as_flags


@settings(deadline=None)
@given(data=st.data(), names=st.sets(st.sampled_from(list(OPTIONS))))
def test_every_allowed_value_can_be_given_as_a_flag(data, names):
    values = {name: data.draw(allowed(OPTIONS[name])) for name in sorted(names)}
    assert parse_flags(as_flags(values)).values == values


def test_values_may_follow_a_space_or_an_equals_sign():
    assert parse_flags(["--lr", "1e-3", "--out=--odd=name"]).values == {"lr": 1e-3, "out": "--odd=name"}


def test_the_last_of_equal_flags_counts():
    line = parse_flags(["--lr", "1", "--download", "--lr", "2", "--no-download"])
    assert line.values == {"lr": 2.0, "download": False}


def test_commands():
    line = parse_flags(["--config", "my.toml", "--print-config"])
    assert (line.config_file, line.print_config) == ("my.toml", True)
    assert parse_flags(["--density", "7", "--nonsense", "-h"]).show_help
    assert parse_flags(["--version"]).show_version
    assert not OPTIONS.keys() & {command.split()[0].lstrip("-").replace("-", "_") for command in COMMANDS}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--desnity", "0.1"], "unknown flag '--desnity': did you mean --density?"),
        (["--desnity=0.1"], "unknown flag '--desnity': did you mean --density?"),
        (["--algo", "scaffnew"], "unknown flag '--algo': did you mean --algorithm?"),
        (["--batch_size", "3"], "unknown flag '--batch_size': did you mean --batch-size?"),
        (["-lr", "3"], "unknown flag '-lr': did you mean --lr?"),
        (["--learning-rate", "3"], "unknown flag '--learning-rate': did you mean --lr?"),
        (["--num-clients", "3"], "unknown flag '--num-clients': did you mean --clients?"),
        (["--confg", "x"], "unknown flag '--confg': did you mean --config?"),
        (["--xyzzy"], "unknown flag '--xyzzy': --help lists every flag"),
        (["--no-lr"], "unknown flag '--no-lr'"),
        (["--a\nb"], r"unknown flag '--a\nb'"),
        (["mnist"], "unexpected argument 'mnist'"),
        (["--"], "unexpected argument '--'"),
        ([""], "unexpected argument ''"),
        (["--lr"], "--lr needs a value: it must be a number, above 0 and finite"),
        (["--lr", "--seed", "1"], "--lr needs a value"),
        (["--config"], "--config needs a value"),
        (["--config", "a", "--config", "b"], "--config is given twice"),
        (["--download", "yes"], "unexpected argument 'yes'"),
        (["--download=yes"], "--download takes no value"),
        (["--print-config=yes"], "--print-config takes no value"),
        (["--lr", "-1e-3"], "--lr is -0.001: it must be a number, above 0 and finite"),
        (["--lr", "-inf"], "--lr is -inf"),
        (["--lr", "nan"], "--lr is nan: it must be a number, above 0 and finite"),
        (["--lr", "fast"], "--lr is 'fast': it must be a number"),
        (["--lr="], "--lr is ''"),
        (["--rounds", "1e3"], "--rounds is '1e3': it must be an integer"),
        (["--rounds", "9" * 5000], "--rounds is '9999"),
        (["--p", "0"], "--p is 0.0: it must be a number, 1e-06 to 1"),
        (["--density", "0"], "--density is 0.0: it must be a number, above 0 and at most 1"),
        (["--density", "1.5"], "--density is 1.5: it must be a number, above 0 and at most 1"),
        (["--bits", "0"], "--bits is 0: it must be an integer, 1 to 16 or 32"),
        (["--seed", "-1"], "--seed is -1: it must be an integer, 0 to 2^63-1"),
        (
            ["--dataset", "minst"],
            "--dataset is 'minst': it must be digits, mnist, fashionmnist, cifar10, synthetic or own (did you",
        ),
        (["--algorithm", "fedcomlock"], "(did you mean fedcomloc-com?)"),
        (["--out", ""], "--out is '': it must be a path"),
        (["--out", "\udcff"], r"--out is '\udcff': it must be a path"),
    ],
)
def test_mistakes_are_refused_in_one_line(arguments, message):
    with pytest.raises(UserError) as caught:
        parse_flags(arguments)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.text(max_size=12), st.sampled_from([option.flag for option in OPTIONS.values()])))
)
def test_any_command_line_is_read_or_refused(arguments):
    message = ""
    try:
        parse_flags(arguments)
    except UserError as error:
        message = str(error)
    assert message.isprintable()
