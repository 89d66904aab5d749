"""Figures of the machine and of containers, whose control groups are made up here."""

import os
from pathlib import Path

import psutil
import pytest

from segkit.errors import InputError
from segkit.system.machine import cores, memory, require_writable, shared_memory, size


def made_up(root: Path, own: str, files: dict[str, object]) -> Path:
    """A file system with the control groups of this process."""
    for name, text in {"proc/self/cgroup": own, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def test_memory_without_a_limit_is_the_machines(tmp_path):
    free, whole = memory(tmp_path)
    assert whole == psutil.virtual_memory().total
    assert 0 < free < whole


def test_a_limit_of_a_group_above_counts_and_what_files_hold_is_free(tmp_path):
    group = "sys/fs/cgroup/slurm/job"
    files = {
        f"{group}/step/memory.max": "max",
        f"{group}/memory.max": 1_000_000,
        f"{group}/memory.current": 700_000,
        f"{group}/memory.stat": "anon 500000\ninactive_file 50000\nactive_file 1",
    }
    assert memory(made_up(tmp_path, "0::/slurm/job/step", files)) == (350_000, 1_000_000)


def test_the_older_control_groups_are_known_too(tmp_path):
    """As a container sees them: its own group is mounted in place of the one that /proc names."""
    group = "sys/fs/cgroup/memory"
    files = {f"{group}/memory.limit_in_bytes": 2_000_000, f"{group}/memory.usage_in_bytes": 500_000}
    files |= {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": 50_000, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 50_000}
    files |= {"sys/fs/cgroup/cpu/cpu.cfs_period_us": 100_000}
    root = made_up(tmp_path, "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/x", files)
    assert memory(root) == (1_500_000, 2_000_000)
    assert cores(root) == 1


@pytest.mark.parametrize(("share", "count"), [("50000 100000", 1), ("max 100000", None), ("9900000 100000", None)])
def test_cores_are_those_of_the_affinity_and_the_groups_share(tmp_path, share, count):
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert cores(made_up(tmp_path, "0::/", {"sys/fs/cgroup/cpu.max": share})) == (count or usable)


def test_shared_memory_is_that_of_its_folder_and_sizes_have_a_unit_that_fits(tmp_path):
    free, whole = shared_memory(tmp_path)
    assert 0 < free <= whole
    assert shared_memory(tmp_path / "none") is None
    assert [size(67_108_864), size(3_249_000_000), size(0)] == ["67 MB", "3.2 GB", "0 MB"]


def test_a_folder_that_can_be_written_stays_as_it_is(tmp_path):
    require_writable(tmp_path / "a" / "b", "--out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path, read_only):
    with pytest.raises(InputError) as caught:
        require_writable(read_only / "a" / "b", "--out")
    message = str(caught.value)
    assert message.startswith(f"--out {read_only}/a/b: {read_only} cannot be written (")
    assert message.endswith("). Choose another folder, or change its rights.")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught:
        require_writable(tmp_path / "file", "--runs")
    assert str(caught.value) == f"--runs {tmp_path}/file is not a folder; nothing was written. Choose another folder."
