import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.io.photo import read_square
from l4f_datagen.recipe import TrainingPart
from l4f_datagen.toys.scene import TOYS, render_scene
from l4f_datagen.training.reals import REALS


def stream(seed=0):
    return np.random.RandomState(seed)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def open_folder(folder, generator):
    part = TrainingPart(reals="folder", reals_folder=str(folder))
    return REALS["folder"](part, generator)


def test_every_source_of_a_recipe_is_there():
    assert set(REALS) == set(TrainingPart.model_fields["reals"].annotation.__args__)


class TestGenerator:
    def test_is_a_function_of_the_stream(self, make_generator):
        generator = make_generator()
        draw = REALS["generator"](TrainingPart(reals_psi=0.7), generator)
        torch.manual_seed(1)
        first = draw(stream(), 3)
        torch.manual_seed(2)
        assert torch.equal(draw(stream(), 3), first)
        assert not torch.allclose(draw(stream(1), 3), first, atol=1e-3)
        assert first.shape == (3, 3, 16, 16)

    def test_by_hand(self, make_generator):
        generator = make_generator()
        images = REALS["generator"](TrainingPart(reals_psi=0.6), generator)(stream(4), 2)
        same = stream(4)
        z = torch.from_numpy(same.randn(2, 8).astype(np.float32))
        noise = generator.noise("random", [stream(same.randint(2**31)) for _ in range(2)])
        assert torch.equal(images, generator(z, 0.6, noise=noise).image)

    def test_every_sample_has_its_own_noise(self, make_generator):
        draw = REALS["generator"](TrainingPart(reals_psi=0.0), make_generator())
        images = draw(stream(), 2)
        assert not torch.allclose(images[0], images[1], atol=1e-3)
        silent = REALS["generator"](TrainingPart(reals_psi=0.0), make_generator(noise=0.0))
        images = silent(stream(), 2)
        assert torch.allclose(images[0], images[1], atol=1e-6)


@pytest.mark.parametrize("domain", TOYS)
class TestToys:
    def test_are_fresh_renders(self, make_generator, domain):
        images = REALS[domain](TrainingPart(reals=domain), make_generator(32))(stream(5), 2)
        seeds = stream(5).randint(0, 2**31, 2)
        for image, seed in zip(images, seeds, strict=True):
            render = render_scene(int(seed), 32, domain).image
            assert np.array_equal(np.rint((image.numpy() + 1) * 127.5), render.transpose(2, 0, 1))


class TestFolder:
    def test_pictures_are_whole_and_centred_on_black(self, tmp_path):
        wide = np.full((4, 8, 3), (200, 100, 50))
        square = read_square(save(tmp_path / "wide.png", wide), 16)
        assert square.shape == (16, 16, 3)
        assert square.dtype == np.uint8
        assert (square[:4] == 0).all()
        assert (square[12:] == 0).all()
        assert (square[4:12] == (200, 100, 50)).all()
        tall = read_square(save(tmp_path / "tall.png", wide.transpose(1, 0, 2)), 16)
        assert np.array_equal(tall, square.transpose(1, 0, 2))

    def test_a_square_of_the_right_size_is_kept_as_it_is(self, tmp_path):
        pixels = stream().randint(0, 256, (16, 16, 3)).astype(np.uint8)
        assert np.array_equal(read_square(save(tmp_path / "a.png", pixels), 16), pixels)

    @pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
    def test_a_sliver_stays_a_line(self, tmp_path, size):
        square = read_square(save(tmp_path / "a.png", np.full((*size, 3), 255)), 16)
        lit = (square == 255).all(axis=2)
        assert lit.sum() == 16
        assert sorted((lit.any(axis=0).sum(), lit.any(axis=1).sum())) == [1, 16]

    def test_grey_and_palette_become_rgb(self, tmp_path):
        grey = read_square(save(tmp_path / "grey.png", np.full((4, 4), 90)), 4)
        assert (grey == 90).all()
        palette = Image.new("P", (4, 4), 1)
        palette.putpalette([0, 0, 0, 10, 20, 30])
        palette.save(tmp_path / "palette.png")
        assert (read_square(tmp_path / "palette.png", 4) == (10, 20, 30)).all()

    def test_images_are_drawn_from_the_whole_tree(self, tmp_path, make_generator):
        for k, name in enumerate(["b.png", "deep/er/a.jpeg", "c.WEBP", "d.bmp"]):
            save(tmp_path / name, np.full((16, 16, 3), 50 + 50 * k))
        (tmp_path / "notes.txt").write_text("no image")
        draw = open_folder(tmp_path, make_generator())
        images = draw(stream(), 40)
        assert images.shape == (40, 3, 16, 16)
        assert images.dtype == torch.float32
        levels = {round(v.item() / 10) * 10 for v in (images.mean(dim=(1, 2, 3)) + 1) * 127.5}
        assert levels == {50, 100, 150, 200}
        assert torch.equal(draw(stream(), 40), images)
        assert not torch.equal(draw(stream(1), 40), images)

    def test_black_is_minus_one_and_white_one(self, tmp_path, make_generator):
        save(tmp_path / "a.png", np.full((8, 16, 3), 255))
        image = open_folder(tmp_path, make_generator())(stream(), 1)
        assert image.unique().tolist() == [-1.0, 1.0]
        assert (image[0, :, 4:12] == 1).all()

    def test_no_image_at_all(self, tmp_path, make_generator):
        folder = tmp_path / "pictures"
        (folder / "deep.png").mkdir(parents=True)  # a folder, whatever its name
        (folder / "a.gif").write_bytes(b"GIF89a")
        expected = (
            r"pictures: holds no image \(.bmp .jpeg .jpg .png .webp\); name pictures of the dom"
        )
        with pytest.raises(InputRefused, match=expected):
            open_folder(folder, make_generator())

    @pytest.mark.parametrize("kind", ["truncated", "text", "empty", "bent", "folder"])
    def test_broken_images(self, tmp_path, kind):
        file = tmp_path / "a.png"
        whole = save(tmp_path / "whole.png", stream().randint(0, 256, (32, 32, 3))).read_bytes()
        if kind == "folder":
            file.mkdir()
        else:
            content = {
                "truncated": whole[: len(whole) // 2],
                "text": b"no image",
                "empty": b"",
                "bent": whole[:60] + bytes(200) + whole[260:],
            }
            file.write_bytes(content[kind])
        expected = r"a.png: is (not a readable image|damaged) \(.+\); remove or replace it"
        with pytest.raises(InputRefused, match=expected) as caught:
            read_square(file, 16)
        assert caught.value.exit_code == 4

    def test_large_images_are_refused_before_they_are_unpacked(self, tmp_path):
        Image.new("1", (10_000, 7_000)).save(tmp_path / "large.png")
        with pytest.raises(
            InputRefused, match=r"large.png: is 10000 x 7000 pixels, at most 64 MP; shrink it"
        ):
            read_square(tmp_path / "large.png", 16)

    def test_a_header_that_promises_gigapixels(self, tmp_path):
        header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100)))]
        png = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in chunks
        )
        (tmp_path / "bomb.png").write_bytes(png)
        with pytest.raises(InputRefused, match=r"bomb.png: is far beyond 64 megapixels; shrink it"):
            read_square(tmp_path / "bomb.png", 16)
