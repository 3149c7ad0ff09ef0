from bench.scaling import FIGURES, SWEEPS, cases, document, table

MADE = {"commit": "abc", "started": "2026-01-02T03:04:05Z", "cpu_model": "x86_64"}


def row(sweep: str, seconds: float, **case: object) -> dict[str, str]:
    known = {"clients": 100, "cohort": 10, "ranks": 3, "exchange": "", "parameters": 199_210}
    figures = {name: seconds if name == "seconds" else 7 for name in FIGURES}
    return {"sweep": sweep} | {name: str(value) for name, value in (known | case | figures | MADE).items()}


def test_a_line_is_the_job_with_the_median_round() -> None:
    found = [row("ranks", seconds, ranks=ranks) for seconds in (0.3, 0.1, 0.2) for ranks in (2, 11)]
    lines = table("ranks", [*found, row("size", 9.0)]).splitlines()
    assert lines[0].startswith("| ranks | exchange | s/round | CPU/round |")
    assert lines[2:] == [f"| {ranks} |  | 0.200 | 7.000 | 7 | 7 | 7 | 7 | 7 | 7 |" for ranks in (2, 11)]


def test_the_page_has_every_sweep() -> None:
    page = document([row(sweep, 0.5) for sweep in SWEEPS], "scaling.csv", 3)
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## Clients",
        "## Ranks",
        "## Size",
    ]
    assert page.count("| 0.500 | 7.000 |") == 3
    assert "commit abc" in page
    assert "KB up" in page


def test_each_case_differs_in_what_its_sweep_varies() -> None:
    for sweep, (varied, _) in SWEEPS.items():
        found = list(cases(sweep))
        keys = {
            tuple(case.get("width" if name == "parameters" else name) for name in varied) for case in found
        }
        assert len(keys) == len(found) > 2
