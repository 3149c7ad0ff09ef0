"""Eleven hosts, a rank on each, joined by TCP: the same bits as on one host, by both exchanges."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import TrainingHosts
from tests.cluster.runs import REFERENCE, ROUNDS, assert_same, read_json, train_here

pytestmark = pytest.mark.timeout(600)

HOSTS = 11


@pytest.fixture(scope="module")
def hosts() -> Iterator[TrainingHosts]:
    folder = Path(tempfile.mkdtemp(prefix="fedcomloc-hosts-"))
    try:
        with TrainingHosts(HOSTS, folder) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("exchange", ["collectives", "p2p"])
def test_eleven_hosts(hosts: TrainingHosts, reference: Path, tmp_path: Path, exchange: str) -> None:
    before = [hosts.bytes_sent(host) for host in range(HOSTS)]
    job = hosts.train(*REFERENCE, "--exchange", exchange, "--out", "run", cwd=tmp_path)
    assert job.returncode == 0, job
    assert f"{HOSTS} ranks on {HOSTS} hosts" in job.stdout
    run = tmp_path / "run"
    assert read_json(run / "environment.json")["host_of_rank"] == [f"host{number}" for number in range(HOSTS)]
    assert_same(run, reference)
    # Each host has kept the state of its own clients, and written it.
    assert len(list((run / "checkpoints").glob(f"{ROUNDS:08}-*.rows"))) == HOSTS
    sent = [hosts.bytes_sent(host) - start for host, start in enumerate(before)]
    totals = read_json(run / "summary.json")
    assert sum(sent[1:]) > totals["uplink"]["mpi_bytes"]
    if exchange == "p2p":
        assert sent[0] > totals["downlink"]["mpi_bytes"]


def test_from_eleven_hosts_to_one(hosts: TrainingHosts, reference: Path, tmp_path: Path) -> None:
    rounds = str(ROUNDS // 2 // 10 * 10)
    job = hosts.train(*REFERENCE, "--rounds", rounds, "--out", "run", cwd=tmp_path)
    assert job.returncode == 0, job
    train_here(3, "--resume", "run", "--rounds", str(ROUNDS), cwd=tmp_path)
    assert_same(tmp_path / "run", reference)
