from memorysam_training.bench import simulation


def test_the_benchmark_names_speed_and_occlusion():
    rows = {row.name: row for row in simulation.rows("cpu", quick=True)}
    assert rows["simulated sets a second, 1 processes"].value > 0
    assert 0 < rows["occluded points removed"].value <= 100
    assert rows["visible points lost"].unit == "%"
