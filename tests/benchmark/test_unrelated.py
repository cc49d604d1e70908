import numpy as np
from PIL import Image

from l4f_datagen.benchmark.job import open_bench
from l4f_datagen.benchmark.methods import METHODS
from l4f_datagen.benchmark.unrelated import bare_ground, other_toy, unrelated_folder, unrelated_name
from l4f_datagen.toys.scene import TOYS, render_scene


def test_the_other_toy_is_another_one():
    assert [other_toy(name) for name in TOYS] == [*list(TOYS)[1:], next(iter(TOYS))]


def test_a_bare_ground_is_a_scene_without_its_subject():
    for domain in TOYS:
        scene, ground = render_scene(4, 64, domain), bare_ground(4, 64, domain)
        assert ground.shape == (64, 64, 3)
        # Far from the subject, and from its shadow, both are the same.
        same = (scene.image == ground).all(axis=2)
        assert same[0].mean() > 0.9
        assert not same[scene.alpha > 0.5].any()


def test_toy_domains_write_grounds_once(make_job):
    job = make_job()
    job.out.mkdir()
    bench = open_bench(job, print)
    folder = unrelated_folder(bench)
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == ["00000.png", "00001.png", "00002.png"]
    with Image.open(files[1]) as image:
        np.testing.assert_array_equal(image, bare_ground(1, 32, "toy-fish"))
    files[1].write_bytes(b"kept")
    unrelated_folder(bench)
    assert files[1].read_bytes() == b"kept"
    assert unrelated_name(bench) == "3 bare grounds of toy-fish"


def test_a_check_writes_nothing(make_job):
    job = make_job()
    METHODS["unrelated-backgrounds"].check(open_bench(job, print))
    assert not job.out.exists()


def test_a_folder_is_named_by_what_it_holds(make_job, tmp_path):
    names = []
    for place, content in (("one", b"abc"), ("two", b"abc"), ("three", b"abcd")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.png").write_bytes(content)
        (tmp_path / place / "notes.txt").write_text(place)
        bench = open_bench(make_job(unrelated=tmp_path / place), print)
        assert unrelated_folder(bench) == tmp_path / place
        names.append(unrelated_name(bench))
    assert names[0] == names[1] != names[2]
