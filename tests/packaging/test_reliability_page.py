from pathlib import Path

from tests.soak.document import put_section


def test_each_program_replaces_its_own_section(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    put_section(page, "# One", "first\n\n## Part\n\n| a |\n")
    put_section(page, "# Two", "second")
    assert page.read_text() == "# One\n\nfirst\n\n## Part\n\n| a |\n\n# Two\n\nsecond\n"
    put_section(page, "# One", "third")
    put_section(page, "# One", "third")
    assert page.read_text() == "# One\n\nthird\n\n# Two\n\nsecond\n"
