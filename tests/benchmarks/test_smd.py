"""The machines of the benchmark: their prefixes are TSB-AD's, and a score stands at the middle of the rows it is about."""

import numpy as np
import pytest

from benchmarks.smd import REAL, Machine

PREFIXES = {"machine-1-7": 737, "machine-2-1": 5923, "machine-3-4": 2634}


@pytest.mark.skipif(not (REAL / "smd").exists(), reason="needs ../shared/data/smd")
@pytest.mark.parametrize(("name", "prefix"), PREFIXES.items())
def test_a_prefix_ends_where_the_names_of_tsb_ads_files_say(name: str, prefix: int) -> None:
    machine = Machine.read(f"smd/{name}")
    assert machine.prefix == prefix
    assert not machine.labels[: machine.prefix].any()
    assert machine.rows.shape == (len(machine.labels), 38)


def test_a_window_of_which_the_middle_is_the_anomaly_is_right_at_its_middle() -> None:
    labels = np.zeros(400, bool)
    labels[200:210] = True
    rows = np.random.default_rng(0).normal(size=(400, 2))
    machine = Machine(rows, labels, 100, rows)
    windows = np.convolve(labels, np.hanning(23)[1:-1], mode="valid")  # 21 rows, the middle weighs most
    assert machine.judge(windows, 21) > machine.judge(windows) + 0.05


def test_missing_data_are_said() -> None:
    with pytest.raises(FileNotFoundError, match="must lie in"):
        Machine.read("smd/machine-9-9")
