"""Several processes, each with its shards, in one folder."""

import pytest

from l4f_datagen.core.errors import UsageError
from l4f_datagen.dataset.jobs import JobRecord, drop_records, read_records
from l4f_datagen.dataset.open import open_dataset
from l4f_datagen.recipe import OutputPart
from l4f_datagen.rendering.share import Share


@pytest.fixture
def opened(discs, tmp_path):
    def of(share=None, **options):
        given = {**discs.RUN, "output": OutputPart(formats=discs.ALL), "share": share, **options}
        return open_dataset(tmp_path / "out", **given)

    return of


def test_jobs_write_side_by_side_and_a_make_ends_in_the_same_bytes(discs, opened, tmp_path):
    with opened(Share(0, 2)) as even, opened(Share(1, 2)) as odd:
        for shard in range(3):
            dataset = odd if shard % 2 else even
            dataset.write(shard, discs.plan_blocks(shard), planned=8)
        even.leave(JobRecord(Share(0, 2), 15, "accepted"))
    discs.make_dataset(tmp_path / "out", 15)
    discs.make_dataset(tmp_path / "alone", 15)
    assert discs.files_of(tmp_path / "out") == discs.files_of(tmp_path / "alone")


def test_the_same_share_twice_is_refused_and_so_is_a_make_beside_it(discs, opened, tmp_path):
    with opened(Share(0, 2)):
        with (
            pytest.raises(UsageError, match=r"out \(--shard 0/2\): another process is writing"),
            opened(Share(0, 2)),
        ):
            pass
        with pytest.raises(UsageError, match="out: another process is writing here"):
            discs.make_dataset(tmp_path / "out", 15)
    with (
        opened(),
        pytest.raises(UsageError, match="out: another process is writing here"),
        opened(Share(0, 2)),
    ):
        pass


def test_a_job_sweeps_its_own_shards_alone(opened, tmp_path):
    with opened():
        pass
    for shard in (0, 1):
        (tmp_path / f"out/images/{shard:05d}.part").mkdir(parents=True)
    with opened(Share(1, 2)):
        assert [path.name for path in (tmp_path / "out/images").iterdir()] == ["00000.part"]


def test_records_are_read_back_in_order_and_damaged_ones_are_none(tmp_path):
    for index in (2, 0):
        JobRecord(Share(index, 3), 50, "attempts").write(tmp_path)
    (tmp_path / ".l4f/jobs/00001-of-00003.json").write_text("{")
    found = [JobRecord(Share(index, 3), 50, "attempts") for index in (0, 2)]
    assert read_records(tmp_path) == found
    drop_records(tmp_path)
    assert read_records(tmp_path) == []
    assert not (tmp_path / ".l4f").exists()


def test_a_job_cannot_overwrite(opened):
    with (
        pytest.raises(UsageError, match="--overwrite: given with --shard, would throw away what"),
        opened(Share(0, 2), overwrite=True),
    ):
        pass
