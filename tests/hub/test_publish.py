"""The real client against a real server: what arrives, what is sent again, what is taken away."""

import shutil

import pytest
import yaml

from l4f_datagen.core.errors import NetworkError, UsageError
from l4f_datagen.dataset.notes import MARKER
from l4f_datagen.hub import plan_push, push
from l4f_datagen.hub.publish import batches

NAME = "user/discs"


def publish(dataset, **options):
    said = []
    return push(plan_push(dataset, NAME, **options), said.append), said


@pytest.mark.parametrize("hub", ["lfs", "xet"], indirect=True)
def test_a_second_push_makes_no_commit(hub, dataset):
    done, _ = publish(dataset)
    there = hub.files(NAME)
    names = {"README.md", "contact_sheet.png", "ledger.jsonl", "manifest.json", "recipe.yaml"}
    names |= {path.relative_to(dataset).as_posix() for path in dataset.glob("data/*.parquet")}
    assert set(there) == names
    assert {path: blob.size for path, blob in there.items()} == {
        path: (dataset / path).stat().st_size for path in names
    }
    assert (done.files, done.size) == (len(names), sum(blob.size for blob in there.values()))
    commits = hub.commits(NAME)
    assert len(commits) == 2
    hub.asked.clear()
    again, _ = publish(dataset)
    assert (again.files, again.size, again.removed) == (0, 0, 0)
    assert hub.commits(NAME) == commits
    assert not [line for line in hub.asked if not line.startswith("GET")]


def test_every_byte_arrives(hub, dataset):
    publish(dataset)
    for path in hub.files(NAME):
        assert hub.data(NAME, path) == (dataset / path).read_bytes()


def test_card_and_manifest_come_last_and_large_sets_in_several_commits(hub, dataset, monkeypatch):
    monkeypatch.setattr("l4f_datagen.hub.publish.COMMIT_FILES", 3)
    publish(dataset)
    shards = len(list(dataset.glob("data/*.parquet")))
    commits = hub.repos["dataset", NAME].branches["main"][1:]
    assert len(commits) == -(-(shards + 1) // 3) + 1
    assert all("README.md" not in files for _, _, files in commits[:-1])
    assert {"README.md", "manifest.json"} <= set(commits[-1][2])
    monkeypatch.setattr("l4f_datagen.hub.publish.COMMIT_BYTES", 1)
    batch, *others = batches(plan_push(dataset, NAME).content.shards)
    assert len(batch) == 1
    assert len(others) == shards - 1


def test_interrupted_push_is_finished_with_only_what_is_missing(hub, serving, dataset, monkeypatch):
    monkeypatch.setattr("l4f_datagen.hub.publish.COMMIT_FILES", 2)
    hub.faults.append(serving.Fault("POST .*/commit/", serving.status(500), times=99, after=2))
    with pytest.raises(NetworkError, match=r"the Hub failed .500.*what has arrived is not sent"):
        publish(dataset)
    assert len(hub.commits(NAME)) == 2
    assert "README.md" not in hub.files(NAME)
    hub.faults.clear()
    before = list(hub.received)
    done, _ = publish(dataset)
    arrived = {path.name: path.stat().st_size for path in dataset.glob("data/*.parquet")}
    arrived["sheet"] = (dataset / "contact_sheet.png").stat().st_size
    assert sorted(hub.received) == sorted(arrived.values())  # each object came once
    assert len(before) < len(hub.received)
    assert done.files < len(hub.files(NAME))
    assert publish(dataset)[0].files == 0


def test_private_revision_and_tag(hub, dataset):
    done, _ = publish(dataset, private=True, revision="v2", tag="first")
    repo = hub.repos["dataset", NAME]
    assert repo.private
    assert repo.tags == {"first": repo.branches["v2"][-1][0]}
    assert len(repo.branches["main"]) == 1
    assert done.url.endswith("/datasets/user/discs/tree/v2")
    assert publish(dataset, private=True, revision="v2", tag="first")[0].files == 0
    with pytest.raises(NetworkError, match=r"--tag first: stands on another state of user/discs"):
        publish(dataset, tag="first")
    assert len(repo.branches["main"]) == 1  # refused before anything was sent


def test_private_is_refused_where_the_dataset_is_public(hub, dataset):
    publish(dataset)
    with pytest.raises(NetworkError, match=r"user/discs: is there already, and is public"):
        publish(dataset, private=True)


def test_shards_of_an_earlier_state_are_taken_away(hub, published, dataset, tmp_path):
    publish(dataset)
    small = published.publishable(tmp_path / "small", 5)
    done, _ = publish(small)
    assert done.removed > 0
    data = {path for path in hub.files(NAME) if path.startswith("data/")}
    assert data == {path.relative_to(small).as_posix() for path in small.glob("data/*")}
    assert hub.data(NAME, "manifest.json") == (small / "manifest.json").read_bytes()


def test_a_dataset_of_others_is_not_overwritten(hub, serving, dataset):
    repo = hub.repos["dataset", NAME] = serving.Repo()
    files = {"data/train-00000-of-00001.parquet": serving.Blob(3, "0" * 40, "0" * 64)}
    repo.branches["main"].append(("1" * 40, "theirs", files))
    with pytest.raises(NetworkError, match=r"holds another dataset .data/train-00000-of-00001"):
        publish(dataset)
    assert hub.commits(NAME) == ["theirs"]


def test_notes_written_on_the_hub_stay(hub, dataset):
    publish(dataset)
    card = (dataset / "README.md").read_text()
    theirs = card.replace(MARKER, f"{MARKER}\nWords from the website.")
    for _ in range(2):  # the first push of other notes takes the place of none
        (dataset / "README.md").write_text(theirs)
        publish(dataset)
        (dataset / "README.md").write_text(card)
        assert publish(dataset)[0].files == 0
        assert "Words from the website." in hub.data(NAME, "README.md").decode()
    (dataset / "README.md").write_text(card.replace(MARKER, f"{MARKER}\nOther words."))
    _, said = publish(dataset)
    assert "takes its place" in said[0]
    assert "Other words." in hub.data(NAME, "README.md").decode()


def test_further_formats_on_request(hub, dataset):
    publish(dataset, also=["png", "coco"])
    there = set(hub.files(NAME))
    for folder in ("images", "masks", "alpha", "annotations"):
        ours = {p.relative_to(dataset).as_posix() for p in (dataset / folder).rglob("*.*")}
        assert ours
        assert ours <= there
    assert not [path for path in there if path.startswith(".")]
    with pytest.raises(UsageError, match=r"--also yolo: the dataset has no such files"):
        plan_push(dataset, NAME, also=["yolo"])


def test_bytes_that_changed_after_make_are_found_before_the_card_goes_up(hub, dataset):
    shard = dataset / "data" / "train-00001.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UsageError, match=r"train-00001.parquet: its bytes are not those that"):
        publish(dataset)
    assert "README.md" not in hub.files(NAME)


def test_a_card_the_hub_refuses_stops_the_push_before_the_samples(hub, dataset):
    card = (dataset / "README.md").read_text()
    (dataset / "README.md").write_text(card.replace("- n<1K", "- tiny"))
    with pytest.raises(NetworkError, match=r"the Hub refuses the head of README.md.*size_categor"):
        publish(dataset)
    assert hub.received == []


def test_a_dataset_held_by_make_waits(hub, dataset):
    from l4f_datagen.dataset.ownership import folder_lock

    with (
        folder_lock(dataset / ".l4f" / "lock", "x"),
        pytest.raises(UsageError, match=r"another pr"),
    ):
        publish(dataset)


def test_configs_name_files_that_are_there(hub, dataset):
    publish(dataset)
    head = yaml.safe_load(hub.data(NAME, "README.md").split(b"---")[1])
    [config] = head["configs"]
    shutil.rmtree(dataset)
    for files in config["data_files"]:
        prefix = files["path"].removesuffix("*.parquet")
        assert any(path.startswith(prefix) for path in hub.files(NAME))
