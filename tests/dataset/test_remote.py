"""Datasets at a URL: the bytes of a local folder, resumed and repaired like one."""

import pytest

from l4f_datagen.core.errors import NetworkError, UsageError
from l4f_datagen.dataset.remote import Remote


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def server():
    moto = pytest.importorskip("moto.server", reason="needs moto, of the extra [dev]")
    pytest.importorskip("s3fs", reason="needs s3fs, of the extra [dev]")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


OUT = "s3://cars/out"


@pytest.fixture
def bucket(server, monkeypatch):
    """The empty bucket ``cars`` of a local S3."""
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    bucket = boto3.resource("s3").create_bucket(Bucket="cars")
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()


def objects(bucket):
    """Name -> bytes of what lies at ``OUT``."""
    found = bucket.objects.filter(Prefix="out/")
    return {one.key.removeprefix("out/"): one.get()["Body"].read() for one in found}


@pytest.fixture
def local(discs, tmp_path):
    """Files of a local dataset of so many discs, but for its lock."""

    def of(n):
        discs.make_dataset(tmp_path / "local", n)
        files = discs.files_of(tmp_path / "local")
        return {name: data for name, data in files.items() if name != ".l4f/lock"}

    return of


@pytest.fixture
def remade(discs):
    """Make the dataset at ``OUT`` again; gives the shards rendered, and the notes."""

    def make(n):
        rendered = []
        return rendered, discs.make_dataset(OUT, n, blocks=discs.recorded(rendered))

    return make


def test_a_file_url_holds_what_a_folder_does(discs, tmp_path, local):
    discs.make_dataset(f"file://{tmp_path}/far/out", 15)
    found = discs.files_of(tmp_path / "far/out")
    assert found == local(15)


@pytest.mark.slow
def test_a_bucket_is_made_resumed_and_grown_and_not_shrunk(discs, tmp_path, bucket, local, remade):
    discs.make_dataset(OUT, 15)
    assert objects(bucket) == local(15)
    assert list((tmp_path / "cache").rglob("*.png")) == []  # the local disk need not hold it
    assert remade(20)[0] == [2, 3]
    words = "holds 20 accepted samples, --n 5 would delete 15 of them"
    with pytest.raises(UsageError, match=words):
        discs.make_dataset(OUT, 5)
    assert objects(bucket) == local(20)


@pytest.mark.parametrize(
    ("name", "how"),
    [("images/00001/psi1000-seed0000009.png", "deleted"), ("data/train-00001.parquet", "cut")],
)
@pytest.mark.slow
def test_an_object_lost_or_cut_short_is_made_again(discs, bucket, remade, name, how):
    discs.make_dataset(OUT, 18)
    before = objects(bucket)
    lost = bucket.Object(f"out/{name}")
    lost.delete() if how == "deleted" else lost.put(Body=b"cut")
    assert remade(18) == ([1], ["shard 1: 1 files missing or cut short; made again"])
    assert objects(bucket) == before


@pytest.mark.slow
def test_a_stopped_run_promises_nothing_and_is_resumed(discs, bucket, local, remade):
    def stopped(shard):
        if shard == 1:
            raise KeyboardInterrupt
        return discs.plan_blocks(shard)

    with pytest.raises(KeyboardInterrupt):
        discs.make_dataset(OUT, 15, blocks=stopped)
    assert "manifest.json" not in objects(bucket)
    assert ".l4f/shards/00000.json" in objects(bucket)
    assert remade(15)[0] == [1, 2]
    assert objects(bucket) == local(15)


@pytest.mark.slow
def test_files_of_others(discs, bucket, local):
    bucket.put_object(Key="out/thesis.tex", Body=b"years of work")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="s3://cars/out: is not empty, and was not made by"):
            discs.make_dataset(OUT, 2, overwrite=overwrite)
    assert objects(bucket) == {"thesis.tex": b"years of work"}
    bucket.Object("out/thesis.tex").delete()
    discs.make_dataset(OUT, 15)
    bucket.put_object(Key="out/notes.txt", Body=b"mine")
    discs.make_dataset(OUT, 4, overwrite=True)
    assert objects(bucket) == local(4) | {"notes.txt": b"mine"}


@pytest.mark.slow
def test_a_bucket_that_is_not_there(discs, bucket):
    words = r"s3://nowhere/out: \w+ failed .*; check the connection"
    with pytest.raises(NetworkError, match=words):
        discs.make_dataset("s3://nowhere/out", 2)


HALF = "expected a protocol and a place, such as s3://bucket/cars; write both, or"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        *((url, HALF) for url in ("s3://", "s3:///", "file:///", "C://x", "://x", "://")),
        ("abacus://x", "cannot be opened .*; pip install its pac"),
    ],
)
def test_no_whole_address(url, words):
    with pytest.raises(UsageError, match=f"^{url}: {words}"):
        Remote(url)
