"""What is refused before any request: names, changed datasets, broken cards; copies as folders."""

import json
import shutil

import pytest

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.dataset.layout import CARD_MARKER
from l4f_datagen.hub import content
from l4f_datagen.hub.content import check_head, push_to_folder, read_content
from l4f_datagen.hub.publish import plan_push
from l4f_datagen.hub.remote import check_ref, check_repo
from l4f_datagen.report.card import rewrite_card


@pytest.mark.parametrize(
    "name",
    ["user/a.b-c_d", "datasets/user/a.b-c_d", "https://huggingface.co/datasets/user/a.b-c_d/"],
)
def test_names_are_understood(name):
    assert check_repo(name) == "user/a.b-c_d"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("discs", "discs: is not of the form user/name; give your Hub user name"),
        ("a/b/c", "is not of the form user/name"),
        ("models/user/discs", "is the name of one of the models; give a"),
        ("user/", "is not of the form user/name"),
        ("user/-x", "is refused by the Hub; Repo id must"),
        ("user/" + "x" * 97, "is refused by the Hub"),
    ],
)
def test_names_the_hub_refuses(dataset, name, words):
    with pytest.raises(UsageError, match=words):
        plan_push(dataset, name)


@pytest.mark.parametrize("ref", ["a..b", "-x", "x/", "a b", "x.lock", "", "a~b"])
def test_refs_git_refuses(ref):
    with pytest.raises(UsageError, match=r"git refuses this name"):
        check_ref(ref, "--tag")


LISTED = r"(is not as manifest.json lists it|expected \d+); run"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("manifest.json", None, "is not finished; run its `make` again"),
        ("manifest.json", b"{", "manifest.json: is no manifest of a dataset"),
        ("README.md", None, "README.md: is missing; write it again with `l4f-dat"),
        ("README.md", b"\xff", "is not UTF-8 .byte 0"),
        *(
            (name, data, LISTED)
            for name in ("data/train-00000.parquet", "ledger.jsonl", "recipe.yaml")
            for data in (None, b"other")
        ),
        *((".l4f/shards/00001.json", data, LISTED) for data in (None, b"{")),
    ],
)
def test_missing_and_changed_files(dataset, name, data, words):
    (dataset / name).unlink() if data is None else (dataset / name).write_bytes(data)
    with pytest.raises(L4FError, match=words):
        read_content(dataset, verify=True)


def test_no_parquet(published, tmp_path):
    folder = published.publishable(tmp_path / "x", 3, output={"formats": ["png"]})
    with pytest.raises(UsageError, match=r"has no Parquet files, which load_dataset and the Hub's"):
        read_content(folder)


def test_report_on_request_must_be_there(dataset):
    with pytest.raises(UsageError, match=r"has no report.html; make it with"):
        read_content(dataset, ["report"])
    (dataset / "report.html").write_text("<p>")
    assert "report.html" in {file.path for file in read_content(dataset, ["report"]).files}


def test_too_many_files(dataset, monkeypatch):
    monkeypatch.setattr("l4f_datagen.hub.content.MAX_FILES", 3)
    with pytest.raises(UsageError, match=r"files, the Hub takes 3 at most"):
        read_content(dataset)


def test_card_of_another_state(dataset):
    manifest = json.loads((dataset / "manifest.json").read_text())
    (dataset / "manifest.json").write_text(json.dumps(manifest | {"category": "ball"}))
    with pytest.raises(UsageError, match=r"README.md: was not written for this manifest.json; wr"):
        read_content(dataset)
    rewrite_card(dataset)
    assert read_content(dataset).files


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("license: other", "license: [other", "its YAML head is broken in line"),
        ("license: other", "license: 'other", "its YAML head is broken in line"),
        ("license: other\n", "", "its YAML head is missing or has no license"),
        ("---\nlicense", "license", "its YAML head is missing or has no license"),
        ("license: other", "\0: a", "its YAML head is broken"),
    ],
)
def test_card_broken_by_hand(dataset, old, new, words):
    card = (dataset / "README.md").read_text()
    assert old in card
    (dataset / "README.md").write_text(card.replace(old, new, 1))
    with pytest.raises(UsageError, match=rf"README.md: {words}.*repair it, or write it again"):
        read_content(dataset)


def test_card_that_is_a_list():
    with pytest.raises(ValueError, match=r"its YAML head is (broken|missing)"):
        check_head("---\n- a\n---\n")


def test_edits_above_the_marker_are_told(dataset):
    card = (dataset / "README.md").read_text()
    (dataset / "README.md").write_text(card.replace("Noisy discs.", "Noisy circles."))
    [*_, note] = read_content(dataset).notes
    assert note.startswith("README.md: differs from what the tool would write now")
    (dataset / "README.md").write_text(card.replace(CARD_MARKER, CARD_MARKER + "\nwords"))
    assert not [note for note in read_content(dataset).notes if note.startswith("README")]


def test_licence_and_paths_are_told(dataset, published, tmp_path):
    [note] = read_content(dataset).notes
    assert "nvidia-source-code-license-nc forbids commercial use" in note
    weights = str(tmp_path / "g.pt")
    for name, licence, words in (
        (
            weights,
            published.APACHE,
            f"recipe and manifest contain a path of this machine: {weights}",
        ),
        ("builtin:x", {}, "licence: unknown; the terms of the weights are not known"),
    ):
        generator = {"weights": name, "licence": licence}
        folder = published.publishable(tmp_path / name[-4:], 3, generator=generator)
        assert read_content(folder).notes == [words]


def test_the_copy_has_the_files_of_a_push_and_goes_on_where_it_was_cut(
    cli_run, dataset, tmp_path, monkeypatch
):
    copy, real, written = tmp_path / "a" / "copy", shutil.copyfileobj, []

    def cut(source, target):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(source.name)
        real(source, target)

    monkeypatch.setattr(content.shutil, "copyfileobj", cut)
    result = cli_run("push", dataset, "--to-folder", copy)
    assert result.exit_code == 1
    assert "no space left on the disk while copying the dataset" in result.output
    assert not {"README.md", "manifest.json"} & {path.name for path in copy.iterdir()}
    monkeypatch.undo()
    result = cli_run("push", dataset, "--to-folder", copy, "--json")
    assert result.exit_code == 0, result.output
    wanted = [file.path for file in read_content(dataset).files]
    assert json.loads(result.stdout)["files"] == len(wanted) - 3
    found = {path.relative_to(copy).as_posix(): path for path in copy.rglob("*") if path.is_file()}
    assert sorted(found) == sorted(wanted)
    assert all(path.read_bytes() == (dataset / name).read_bytes() for name, path in found.items())
    assert push_to_folder(dataset, copy).files == 0
    found[wanted[0]].write_bytes(b"x")
    extra = copy / "data" / "train-00099.parquet"
    extra.write_bytes(b"old")
    mended = push_to_folder(dataset, copy)
    assert (mended.files, mended.removed, extra.exists()) == (1, 1, False)


def test_folders_a_copy_does_not_go_to(dataset, tmp_path):
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    file.write_text("mine")
    for target, words in (
        (full, "holds something else than a copy of this dataset; name a new folder"),
        (file, "is a file"),
        *((inside, "is in the dataset, or holds it") for inside in (dataset / "x", dataset.parent)),
    ):
        with pytest.raises(UsageError, match=words):
            push_to_folder(dataset, target)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
