import pytest

from fedcomloc_mpi.transport.launcher import launched_rank, prepare_for_losses


@pytest.mark.parametrize("variable", ["PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"])
def test_every_launcher_numbers_its_ranks(variable: str) -> None:
    assert launched_rank({variable: "7", "PATH": "/bin"}) == 7
    assert launched_rank({variable: "0"}) == 0


@pytest.mark.parametrize("environment", [{}, {"PMI_RANK": ""}, {"PMI_RANK": "-1"}, {"SLURM_PROCID": "none"}])
def test_without_a_launcher_there_is_one_rank(environment: dict[str, str]) -> None:
    assert launched_rank(environment) == 0


def test_mpi_launchers_go_before_slurm() -> None:
    """mpirun in a batch job: SLURM numbers the job's only task, mpirun its ranks."""
    assert launched_rank({"SLURM_PROCID": "0", "PMI_RANK": "3"}) == 3


def test_the_user_s_setting_stays() -> None:
    for given, expected in (({}, "1"), ({"OMPI_MCA_async_mpi_finalize": "0"}, "0")):
        environment = dict(given)
        prepare_for_losses(environment)
        assert environment == {"OMPI_MCA_async_mpi_finalize": expected}
