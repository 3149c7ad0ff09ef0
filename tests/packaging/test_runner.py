"""The runner's arithmetic: no failure may be lost on the way to the closing line."""

import json

import pytest

from tests.run import Outcomes, merge, rank_events, summarize


def events(test: str, outcome: str, *, phase: str = "call") -> list[dict[str, str]]:
    """What a rank records for a test whose `phase` had `outcome` and whose other phases passed."""
    recorded = [{"test": test, "event": "start"}]
    for event in ("setup", "call", "teardown"):
        if event == "call" and phase == "setup":
            continue
        result = outcome if event == phase else "passed"
        recorded.append({"test": test, "event": event, "outcome": result, "text": ""})
    return recorded


@pytest.mark.parametrize("phase", ["setup", "call", "teardown"])
def test_failure_in_any_phase_on_any_rank_fails_the_test(phase: str) -> None:
    outcomes = merge([events("t", "passed"), events("t", "failed", phase=phase)], 1)
    assert outcomes.failed.keys() == {"t"}
    assert not outcomes.passed
    assert not outcomes.skipped


def test_test_that_does_not_end_fails() -> None:
    outcomes = merge([events("t", "passed"), events("t", "passed")[:2]], 1)
    assert outcomes.failed.keys() == {"t"}


def test_unexplained_exit_code_is_a_failure() -> None:
    assert len(merge([events("t", "passed")], 9).failed) == 1
    assert len(merge([[], []], 16).failed) == 1


def test_collection_error_is_a_failure() -> None:
    assert merge(
        [[{"test": "f.py", "event": "collect", "outcome": "failed", "text": "x"}]], 2
    ).failed.keys() == {"f.py"}


def test_skip_on_one_rank_only_is_no_skip() -> None:
    outcomes = merge([events("t", "passed"), events("t", "skipped", phase="setup")], 0)
    assert outcomes.passed == {"t"}
    assert not outcomes.skipped


def test_line_cut_short_is_left_out(tmp_path) -> None:
    path = tmp_path / "rank-0.jsonl"
    path.write_text(json.dumps({"test": "t", "event": "start"}) + '\n{"test": "t", "ev')
    assert rank_events(path) == [{"test": "t", "event": "start"}]
    assert rank_events(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("tiers", "line", "code"),
    [
        ({"a": Outcomes({"t"}), "b": Outcomes({"t"})}, "2 passed, 0 failed", 0),
        ({"a": Outcomes({"t"}, {}, {"u"}), "b": Outcomes({"u"})}, "2 passed, 0 failed", 0),
        (
            {"a": Outcomes({"t"}, {}, {"u"}), "b": Outcomes(set(), {}, {"u"})},
            "1 passed, 0 failed, 1 skipped",
            0,
        ),
        ({"a": Outcomes({"t"}), "b": Outcomes(set(), {"t": ""})}, "1 passed, 1 failed", 1),
        ({"a": Outcomes()}, "0 passed, 0 failed", 1),
    ],
)
def test_closing_line(
    tiers: dict[str, Outcomes], line: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert summarize(tiers) == code
    assert capsys.readouterr().out.splitlines()[-1] == line
