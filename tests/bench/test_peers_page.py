from bench.peers.page import document

COMMON = {
    "kind": "",
    "rounds": "25",
    "load": "1.0",
    "version": "",
    "commit": "abc",
    "started": "2026-01-02T03:04:05Z",
    "cpu": "x86_64",
    "cpus": "2",
    "accuracy": "0.9",
}


def row(name: str, processes: int, seconds: float | None = None, sent: int | None = None) -> dict[str, str]:
    figures = {"seconds": "" if seconds is None else str(seconds), "bytes": "" if sent is None else str(sent)}
    return COMMON | {"name": name, "processes": str(processes)} | figures


def test_medians_ratios_and_who_is_faster() -> None:
    rows = [row("bare torch loop", 1, seconds) for seconds in (0.1, 0.2, 0.9)]
    rows += [row("this, FedAvg", 3, 0.4), row("this, FedAvg", 3, sent=5_000), row("FedLab", 3, 0.3)]
    text = document(rows, "peers.csv")
    assert "| bare torch loop | 1 | 0.200 | 0.100, 0.900 | 1.00 |  | 0.900 |" in text
    assert "| this, FedAvg | 3 | 0.400 | 0.400, 0.400 | 2.00 | 5.0 | 0.900 |" in text
    assert "Fastest: bare torch loop on 1 process, 0.200 s." in text
    assert "FedLab on 3 processes takes 0.300 s, faster than this, FedAvg on 3 ranks (0.400 s)" in text
    assert "Load averages were 1 to 1" in text


def test_nothing_measured() -> None:
    assert "Nothing has been measured yet" in document([], "peers.csv")
