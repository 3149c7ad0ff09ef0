import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings

import fedcomloc_mpi.errors
from fedcomloc_mpi.config import load_config, markdown_table, resolved_text, to_flat
from fedcomloc_mpi.config.flags import COMMANDS
from fedcomloc_mpi.config.table import GROUPS, OPTIONS
from fedcomloc_mpi.config.toml import check_table, parse_toml
from tests.config.strategies import as_flags, chosen_values

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def shown_by(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        load_config(arguments)
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_help_is_complete_and_grouped(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    text = shown_by(capsys, "--help")
    entries = [line.split()[0].rstrip(",") for line in text.splitlines() if line.startswith("  --")]
    commands = [command.split()[0] for command in COMMANDS]
    assert entries == [option.flag for options in GROUPS.values() for option in options] + commands
    assert len(re.findall(r"^\S.*:$", text, re.MULTILINE)) == len(GROUPS) + 1
    assert text.isascii()
    assert max(len(line) for line in text.splitlines()) <= 110
    flat = " ".join(text.split())
    for option in OPTIONS.values():
        assert option.help in flat
        assert option.choices is None or all(choice in flat for choice in option.choices)


def test_help_comes_first(capsys):
    assert shown_by(capsys, "-h", "--nonsense") == shown_by(capsys, "--density", "7", "--help")


def test_version(capsys):
    assert shown_by(capsys, "--version") == f"fedcomloc_mpi {fedcomloc_mpi.__version__}\n"


def test_print_config_names_the_source_of_every_value(capsys, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("lr = 0.25\n")
    text = shown_by(capsys, "--config", str(path), "--seed", "3", "--print-config")
    assert re.search(r"^seed = 3 +# flag$", text, re.MULTILINE)
    assert re.search(rf"^lr = 0\.25 +# file {re.escape(str(path))}$", text, re.MULTILINE)
    assert re.search(r"^rounds = \d+ +# dataset default$", text, re.MULTILINE)
    assert re.search(r"^uplink_density = 0\.1 +# derived$", text, re.MULTILINE)
    assert re.search(r"^# target_accuracy: .* # default$", text, re.MULTILINE)
    for name in OPTIONS:
        assert re.search(rf"^(# )?{name}( =|:) .*  # ", text, re.MULTILINE)


@settings(deadline=None)
@given(values=chosen_values())
def test_print_config_can_be_read_back(values):
    resolved = load_config(as_flags(values))
    read = check_table(parse_toml(resolved_text(resolved).encode(), "here"), "here")
    assert read == {name: value for name, value in to_flat(resolved.config).items() if value is not None}


def test_print_config_checks_first(capsys):
    with pytest.raises(fedcomloc_mpi.errors.UserError):
        load_config(["--print-config", "--cohort", "1"])
    assert capsys.readouterr().out == ""


def test_a_reader_that_stops_early_is_no_error():
    code = "from fedcomloc_mpi.config import load_config; load_config(['--help'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=DOCUMENT.parents[1]
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_the_document_holds_the_table():
    assert markdown_table() in DOCUMENT.read_text(encoding="utf-8")


def test_examples_in_the_document_are_valid(tmp_path):
    document = DOCUMENT.read_text(encoding="utf-8")
    examples = re.findall(r"^```toml\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.toml"
        path.write_text(example, encoding="utf-8")
        load_config(["--config", str(path)])


def test_the_python_example_in_the_document_runs(capsys):
    (example,) = re.findall(
        r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    exec(example, {})
    assert capsys.readouterr().out.startswith("100 0.2\nalgorithm = ")
