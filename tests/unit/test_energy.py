import pytest

from epochbench.timing.machine.energy import cpu_joules_between, cpu_microjoules


def package(folder, name, microjoules, largest=1000):
    zone = folder / name
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "energy_uj").write_text(f"{microjoules}\n")
    (zone / "max_energy_range_uj").write_text(f"{largest}\n")


def test_the_packages_are_added_and_their_parts_are_not_counted_twice(tmp_path):
    for name, joules in (("intel-rapl:0", 100), ("intel-rapl:1", 200), ("intel-rapl:0:0", 999)):
        package(tmp_path, name, joules, 10**9)
    before = cpu_microjoules(tmp_path)
    package(tmp_path, "intel-rapl:0", 3_000_100, 10**9)
    package(tmp_path, "intel-rapl:1", 500_200, 10**9)
    assert cpu_joules_between(before, cpu_microjoules(tmp_path)) == pytest.approx(3.5)


def test_a_counter_that_begins_anew_is_counted_on(tmp_path):
    package(tmp_path, "intel-rapl:0", 900)
    before = cpu_microjoules(tmp_path)
    package(tmp_path, "intel-rapl:0", 99)
    assert cpu_joules_between(before, cpu_microjoules(tmp_path)) == pytest.approx(200e-6)


def test_without_counters_the_energy_is_unknown_and_not_zero(tmp_path):
    assert cpu_microjoules(tmp_path) is None
    assert cpu_joules_between(None, {"intel-rapl:0": (1, 2)}) is None
    (tmp_path / "intel-rapl:0").mkdir()
    assert cpu_microjoules(tmp_path) is None


def test_psys_is_the_whole_board_and_has_the_packages_in_it(tmp_path):
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:1", "psys"), ("intel-rapl:2", "package-1")):
        package(tmp_path, zone, 100)
        (tmp_path / zone / "name").write_text(f"{name}\n")
    assert set(cpu_microjoules(tmp_path)) == {"intel-rapl:0", "intel-rapl:2"}
