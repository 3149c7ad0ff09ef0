"""The command, and what it writes."""

import csv
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fedcomloc_mpi import report
from fedcomloc_mpi.reporting.style import DARK, LIGHT, STAND_INS, colour, mark
from tests.mpirun import clean_environment
from tests.reporting.folders import run_folder

VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """Every element of a page that is closed in order, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    hostile = run_folder(folder / "runs" / "<script>$_{<title>")
    run_folder(folder / "runs" / "other", 6)
    assert report.main([str(hostile), str(folder / "runs" / "other"), "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_the_page_is_whole_and_needs_nothing_else(written: Path) -> None:
    text = (written / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert "<script" not in text
    assert "<script>$_{<title>" in page.text
    assert not [value for value in STAND_INS.values() if value in text]
    assert "prefers-color-scheme: dark" in text


def test_plots_are_files_too(written: Path) -> None:
    for name in ("accuracy", "bytes", "time", "participation"):
        assert (written / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        ElementTree.parse(written / f"{name}.svg")


def test_the_csv_file_has_every_evaluation(written: Path) -> None:
    with (written / "rounds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["round"] for row in rows] == ["2", "4", "2", "4", "6"]
    assert rows[4]["uplink_payload"] == "21000"


def test_the_table_needs_no_matplotlib_and_plots_say_that_they_do(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    code = "import sys; sys.modules['matplotlib'] = None; from fedcomloc_mpi.report import main; sys.exit(main())"
    for arguments, expected in (([str(run), "--table"], 0), ([str(run), "--out", str(tmp_path / "out")], 2)):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], env=clean_environment(), capture_output=True, text=True
        )
        assert done.returncode == expected, done
        assert "0.7500" in done.stdout
        assert not expected or ("fedcomloc_mpi[report]" in done.stderr and done.stderr.count("\n") == 1)
    assert not (tmp_path / "out").exists()


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def luminance(value: str) -> float:
    """Relative luminance of WCAG 2.1."""
    channels = [int(value[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_is_enough(theme: dict[str, str]) -> None:
    ground = luminance(theme["ground"])
    for name, value in theme.items():
        if name in ("ground", "grid"):
            continue
        low, high = sorted((ground, luminance(value)))
        # WCAG: 4.5 for text, 3 for graphics; two hues on white get their contrast from the mark's shape.
        needed = 4.5 if name in ("ink", "faint") else 2.0
        assert (high + 0.05) / (low + 0.05) >= needed, name


def test_forty_runs_look_different() -> None:
    assert len({(colour(LIGHT, index), mark(index)) for index in range(40)}) == 40
