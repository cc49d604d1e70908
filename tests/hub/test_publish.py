"""The official client against a local Hub: what arrives, is sent again, replaced or removed."""

import re

import pytest
import yaml

from l4f_datagen.core.errors import NetworkError, UsageError
from l4f_datagen.dataset.layout import CARD_MARKER
from l4f_datagen.dataset.ownership import folder_lock
from l4f_datagen.hub.publish import ask_hub, plan_push, push

NAME = "user/discs"


def data_files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.glob("data/*.parquet")}


def samples_there(hub):
    return {path for path in hub.files(NAME) if "/" in path}


@pytest.fixture
def rewrite(dataset):
    """Replace words in the card as it was made."""
    card = dataset / "README.md"
    made = card.read_text()
    return lambda old, new: card.write_text(made.replace(old, new))


@pytest.mark.parametrize("hub", ["lfs", "xet"], indirect=True)
def test_a_push_arrives_card_and_manifest_last_and_a_second_makes_no_commit(hub, dataset, publish):
    done = publish()
    there = hub.files(NAME)
    names = {"README.md", "contact_sheet.png", "ledger.jsonl", "manifest.json", "recipe.yaml"}
    assert set(there) == names | data_files(dataset)
    sizes = {path: (dataset / path).stat().st_size for path in there}
    assert {path: blob.size for path, blob in there.items()} == sizes
    assert (done.files, done.size) == (len(sizes), sum(sizes.values()))
    commits = hub.commits(NAME)
    assert commits == ["Begin discs", "Add samples of discs", "Card and manifest of discs"]
    *early, _ = hub.repos[NAME].branches["main"]
    assert all(not {"README.md", "manifest.json"} & set(files) for _, _, files in early)
    if hub.xet is None:
        for path in there:
            assert hub.data(NAME, path) == (dataset / path).read_bytes()
    head = yaml.safe_load(hub.data(NAME, "README.md").split(b"---")[1])
    for files in head["configs"][0]["data_files"]:
        assert any(path.startswith(files["path"].removesuffix("*.parquet")) for path in there)
    hub.asked.clear()
    again = publish()
    assert (again.files, again.size, again.removed) == (0, 0, 0)
    assert hub.commits(NAME) == commits
    assert not [line for line in hub.asked if not line.startswith(("GET", "HEAD"))]


def test_an_interrupted_push_sends_what_is_missing(hub, serving, dataset, publish):
    hub.faults.append(serving.Fault("PUT /lfs/", serving.status(500), times=999, after=2))
    with pytest.raises(NetworkError, match=r"the Hub failed .500.*what has arrived is not sent"):
        publish()
    assert set(hub.files(NAME)) == {"recipe.yaml"}
    hub.faults.clear()
    before = len(hub.received)
    publish()
    sent = {*data_files(dataset), "contact_sheet.png"}
    sizes = [(dataset / path).stat().st_size for path in sent]
    assert sorted(hub.received) == sorted(sizes)  # each object came once
    assert 0 < before < len(sizes)
    assert publish().files == 0


def test_revision_and_tag(hub, publish):
    done = publish(revision="v2", tag="first")
    repo = hub.repos[NAME]
    assert repo.tags == {"first": repo.branches["v2"][-1][0]}
    assert len(repo.branches["main"]) == 1
    assert done.url.endswith("/datasets/user/discs/tree/v2")
    assert publish(revision="v2", tag="first").files == 0
    with pytest.raises(NetworkError, match=r"--tag first: marks another state of user/discs"):
        publish(tag="first")
    assert len(repo.branches["main"]) == 1  # refused before anything was sent


@pytest.mark.parametrize(
    ("commercial", "asked", "private"),
    [(False, None, True), (False, False, False), (True, None, False), (True, True, True)],
)
def test_visibility_follows_the_licence_unless_asked(
    hub, published, dataset, publish, tmp_path, commercial, asked, private
):
    if commercial:
        free = {"weights": "builtin:x", "licence": published.APACHE}
        dataset = published.publishable(tmp_path / "free", 3, generator=free)
    assert publish(dataset, private=asked).private is private
    assert hub.repos[NAME].private is private
    assert publish(dataset).private is private  # an existing repository stays as it is
    flag = "--public" if private else "--private"
    with pytest.raises(NetworkError, match=rf"exists and is .*or leave out {flag}"):
        publish(dataset, private=not private)


def test_another_dataset_is_replaced_only_when_asked(
    hub, serving, published, dataset, publish, tmp_path
):
    rings = {"domain": "rings", "description": "Rings."}
    publish(published.publishable(tmp_path / "rings", **rings), also=["png"])
    before = dict(hub.files(NAME))
    [line] = ask_hub(plan_push(dataset, NAME))[1].replaced
    assert re.fullmatch(r"20 samples of rings \(recipe [0-9a-f]{8}\)", line)
    with pytest.raises(UsageError, match=r"user/discs: holds what this push would replace: 20 sa"):
        publish()
    assert hub.files(NAME) == before
    hub.faults.append(serving.Fault("PUT /lfs/", serving.status(500), times=999))
    with pytest.raises(NetworkError):
        publish(replace=True)
    left = set(hub.files(NAME))
    assert "recipe.yaml" in left
    assert not {"README.md", "manifest.json"} & left
    assert not [path for path in left if path.startswith("images/")]
    hub.faults.clear()
    publish()  # what is left there is an unfinished push of this very dataset
    assert samples_there(hub) == data_files(dataset)
    assert hub.data(NAME, "manifest.json") == (dataset / "manifest.json").read_bytes()


def test_fewer_samples_replace_more_only_when_asked(hub, published, dataset, publish, tmp_path):
    publish()
    small = published.publishable(tmp_path / "small", 5, output=published.OUTPUT)
    with pytest.raises(UsageError, match=r"20 samples; only 5 of them stay; choose another name"):
        publish(small)
    assert publish(small, replace=True).removed > 0
    assert samples_there(hub) == data_files(small)
    publish()  # more samples of the same recipe are an update
    assert samples_there(hub) == data_files(dataset)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("data/train-00000-of-00001.parquet", "1 files of samples, such as data/train-00000-of-"),
        ("README.md", "a README.md that this tool did not write"),
        ("recipe.yaml", "an unfinished push of another dataset"),
    ],
)
def test_files_of_others_are_replaced_only_when_asked(hub, serving, publish, path, words):
    repo = hub.repos[NAME] = serving.Repo()
    (hub.objects / ("0" * 40)).write_bytes(b"---\nlicense: mit\n---\n")
    blob = serving.Blob(21, "0" * 40)
    repo.branches["main"].append(("1" * 40, "theirs", {path: blob}))
    with pytest.raises(UsageError, match=rf"would replace: .*{words}"):
        publish()
    assert hub.commits(NAME) == ["theirs"]
    publish(replace=True)
    assert hub.files(NAME).get(path) != blob


def test_notes_written_on_the_hub_stay(hub, publish, rewrite, caplog):
    publish()
    rewrite(CARD_MARKER, f"{CARD_MARKER}\nWords from the website.")
    publish()
    rewrite("", "")
    assert publish().files == 0
    assert "Words from the website." in hub.data(NAME, "README.md").decode()
    assert "its text below" not in caplog.text
    rewrite(CARD_MARKER, f"{CARD_MARKER}\nOther words.")
    publish()
    assert "its text below the marker replaces another one" in caplog.text
    assert "Other words." in hub.data(NAME, "README.md").decode()


def test_further_formats_on_request(hub, dataset, publish):
    publish(also=["png", "coco"])
    there = set(hub.files(NAME))
    for folder in ("images", "masks", "alpha", "annotations"):
        ours = {p.relative_to(dataset).as_posix() for p in (dataset / folder).rglob("*.*")}
        assert ours
        assert ours <= there
    assert not [path for path in there if path.startswith(".")]


def test_changed_bytes_are_found_before_the_hub_is_asked(hub, dataset, publish):
    shard = dataset / "data" / "train-00001.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    words = "train-00001.parquet: its content has changed; delete it"
    with pytest.raises(UsageError, match=words):
        publish()
    assert hub.asked == []
    with pytest.raises(NetworkError, match=r"train-00001.parquet did not arrive as manifest.json"):
        publish(verify=False)
    assert "README.md" not in hub.files(NAME)


def test_what_is_refused_before_a_repository_is_made(hub, dataset, publish, rewrite):
    job = plan_push(dataset, NAME)
    with folder_lock(dataset / ".l4f" / "lock", "x"), pytest.raises(UsageError, match="another pr"):
        push(job)
    rewrite("- n<1K", "- tiny")
    with pytest.raises(NetworkError, match=r"the Hub refuses the head of README.md.*size_categor"):
        publish()
    assert hub.repos == {}
