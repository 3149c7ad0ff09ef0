import pytest

from fedcomloc_mpi.config import DirectionConfig, make_config, method_compression, model_compression


@pytest.mark.parametrize(
    ("values", "uplink", "downlink", "model"),
    [
        ({}, (0.1, 32), None, (0.1, 32)),
        ({"density": 1, "bits": 8}, (1.0, 8), None, (1.0, 8)),
        ({"density": 1}, None, None, None),
        ({"downlink_bits": 8}, (0.1, 32), (1.0, 8), (0.1, 32)),
        ({"uplink_density": 1}, None, None, (0.1, 32)),
        ({"algorithm": "scaffnew"}, None, None, None),
        ({"algorithm": "fedcomloc-local"}, None, None, (0.1, 32)),
        ({"algorithm": "fedcomloc-global"}, None, (0.1, 32), (0.1, 32)),
        ({"algorithm": "sparsefedavg", "bits": 8}, (0.1, 8), None, (0.1, 8)),
    ],
)
def test_compressors(values, uplink, downlink, model):
    config = make_config(**values)
    expected = [
        pair
        and DirectionConfig(density=pair[0], bits=pair[1], quant_norm="max", lattice="own", compressor="topk")
        for pair in (uplink, downlink, model)
    ]
    assert [*method_compression(config), model_compression(config)] == expected


def test_quant_norm_is_passed_on():
    uplink, _ = method_compression(make_config(bits=4, quant_norm="l2"))
    assert uplink is not None
    assert uplink.quant_norm == "l2"
