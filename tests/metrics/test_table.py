from dataclasses import replace

import pytest

from fedcomloc_mpi.metrics import Status, Summary, end_table, human_bytes
from tests.metrics.records import record


def test_the_whole_table() -> None:
    summary = Summary(size=1_000_000, target_accuracy=0.875, startup_seconds=3.25)
    for round in range(1, 1001):
        accuracy = {500: 0.9, 1000: 0.875}.get(round)
        compressed = {500: 0.85, 1000: 0.86}.get(round)
        summary.add(record(round, accuracy, compressed, uplink_payload=1_234_567, downlink_payload=2_000_000))
    assert end_table(summary.to_dict(Status.FINISHED), "fedcomloc-com on digits") == (
        "fedcomloc-com on digits: finished after 1,000 rounds\n"
        "\n"
        "                       last    best\n"
        "accuracy             0.8750  0.9000  in round 500\n"
        "  compressed model   0.8600  0.8600  in round 1,000\n"
        "\n"
        "                       sent   dense\n"
        "bytes up             1.2 GB  8.0 GB  15.4 % of dense\n"
        "bytes down           2.0 GB  8.0 GB  25.0 % of dense\n"
        "\n"
        "seconds             2,500.0   100 %  2.500 per round\n"
        "  wait              1,750.0    70 %\n"
        "  encode              250.0    10 %\n"
        "  other               500.0    20 %\n"
        "clients, the slowest rank in each: compute 1,500.0, wait 500.0\n"
        "start-up: 3.2 s before the first round\n"
        "target accuracy 0.875: 500 rounds, 617.3 MB up, 1.0 GB down, 1,250.0 s"
    )


def test_shares_below_one_percent_go_to_other() -> None:
    summary = Summary(size=1000)
    parts = {"encode": 0.5, "wait": 99.0, "decode": 0.25, "aggregate": 0.0, "other": 0.25}
    summary.add(replace(record(accuracy=0.5), server_seconds=parts, client_seconds={}))
    lines = end_table(summary.to_dict(Status.DIVERGED, "NaN in the model"), "scaffnew on mnist").splitlines()
    assert lines[:2] == ["scaffnew on mnist: diverged after 1 round", "NaN in the model"]
    assert lines[-3:] == [
        "seconds      100.0   100 %  100.000 per round",
        "  wait        99.0    99 %",
        "  other        1.0     1 %",
    ]


def test_before_the_first_round() -> None:
    table = end_table(
        Summary(size=1000, target_accuracy=0.9).to_dict(Status.INTERRUPTED, "SIGTERM"), "fedavg on digits"
    )
    assert table.startswith("fedavg on digits: interrupted after 0 rounds\nSIGTERM\n")
    assert table.endswith("target accuracy 0.9: not reached")
    assert "nan" not in table


def test_lines_have_no_trailing_blanks_and_fit_a_terminal() -> None:
    summary = Summary(size=10**9)
    for round in range(1, 4):
        summary.add(record(round, 0.5, 0.5, uplink_payload=10**15, downlink_payload=10**15))
    for line in end_table(summary.to_dict(Status.FINISHED), "fedcomloc-com on digits").splitlines():
        assert line == line.rstrip()
        assert len(line) <= 80


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (999_949, "999.9 KB"),
        (999_950, "1.0 MB"),
        (48_300_000, "48.3 MB"),
        (1.5e9, "1.5 GB"),
        (2e15, "2.0 PB"),
        (1.2345e19, "12,345.0 PB"),
    ],
)
def test_human_bytes(count: float, text: str) -> None:
    assert human_bytes(count) == text
