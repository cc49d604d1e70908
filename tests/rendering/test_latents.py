import pickle
import re
import struct
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.models.generator import Generator, GeneratorSpec
from l4f_datagen.rendering.latents import MAX_BYTES, open_latents

SPEC = GeneratorSpec(16, {4: 6, 8: 5, 16: 4}, z_dim=7, w_dim=8)
"""Takes 7 numbers as z, 8 as w, 6 x 8 as W+."""


def rows(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


@pytest.fixture
def save(tmp_path):
    def to(values, name="ws.npy"):
        path = tmp_path / name
        if name.endswith(".npy"):
            np.save(path, values, allow_pickle=True)
        elif name.endswith(".safetensors"):
            save_file({"ws": torch.from_numpy(values)}, path)
        else:
            torch.save(values, path)
        return str(path)

    return to


def npy(header, body=b""):
    """A .npy file with this header text, right or not."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def floats(shape, body=b"", kind="<f4"):
    """A .npy file that announces floats of this shape."""
    return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}", body)


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("echo pwned",)


class TestFiles:
    @pytest.mark.parametrize("shape", [(5, 8), (5, 6, 8), (1, 7)])
    def test_all_files_with_the_same_values_are_the_same_latents(self, save, shape):
        values = rows(*shape)
        tensor = torch.from_numpy(values)
        files = [
            save(values, "c.npy"),
            save(np.asfortranarray(values), "f.npy"),
            save(values.astype(">f4"), "big.npy"),
            save(values.astype(np.float64), "double.npy"),
            save(tensor, "no_suffix_matters"),
            save({"ws": tensor}, "dict.pt"),
            save(torch.nn.Parameter(tensor), "parameter.pt"),
            save(tensor.transpose(0, 1).contiguous().transpose(0, 1), "strided.pt"),
            save(values, "ws.safetensors"),
        ]
        opened = [open_latents(file) for file in files]
        assert len({latents.sha256 for latents in opened}) == 1
        for latents in opened:
            assert latents.values.dtype == np.float32
            assert latents.rows == shape[0]
            np.testing.assert_array_equal(latents.values, values)

    def test_half_precision(self, save):
        half, bf16 = rows(3, 8).astype(np.float16), torch.from_numpy(rows(3, 8)).bfloat16()
        np.testing.assert_array_equal(open_latents(save(half)).values, half.astype(np.float32))
        opened = open_latents(save(bf16, "b.pt"))
        np.testing.assert_array_equal(opened.values, bf16.float().numpy())

    def test_values_and_shape_decide_the_name(self, save):
        values = rows(6, 8)
        other = values.copy()
        other[5, 7] += 1e-6
        arrays = values, other, values.reshape(12, 4), values.reshape(1, 6, 8)
        named = {open_latents(save(each, f"{k}.npy")).sha256 for k, each in enumerate(arrays)}
        assert len(named) == 4

    def test_a_file_changed_meanwhile_is_read_again(self, save):
        first = open_latents(save(rows(9, 8)))
        np.testing.assert_array_equal(first.take([4, 0, 8]), rows(9, 8)[[4, 0, 8]])
        assert open_latents(first.path) is first
        assert open_latents(save(rows(4, 8, seed=1))).rows == 4

    def test_nvidias_projected_w_is_one_code(self, tmp_path):
        path, w = tmp_path / "projected_w.npz", rows(1, 6, 8)
        for arrays in ({"w": w, "other": rows(2, 3)}, {"anything": w}):
            np.savez(path, **arrays)
            assert np.array_equal(open_latents(str(path)).values, w)


PRIVATE = "asks for '(posix|nt|os).system', which no StyleGAN2 weights need"
NO_HEADER = "has no readable .npy header"
HUGE = MAX_BYTES // 4 // 512 + 1


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "value", "text"),
        [
            ("a.npy", rows(5), "has shape 5, expected n x dim or n x num_ws x w_dim, none of them"),
            ("a.npy", rows(2, 3, 4, 5), "has shape 2 x 3 x 4 x 5, expected n x dim"),
            ("a.npy", rows(0, 8), "has shape 0 x 8, expected"),
            ("a.npy", np.float32(3), r"has shape \(\), expected"),
            ("a.npy", np.zeros((3, 8), np.int64), "holds int64, expected floating point; save one"),
            ("a.npy", np.zeros((3, 8), bool), "holds bool, expected floating point"),
            ("a.npy", np.zeros((3, 8), np.complex64), "holds complex64, expected floating point"),
            ("a.npy", np.zeros((3, 8), np.longdouble), "expected floating point"),
            ("a.npy", np.array([{}], dtype=object), "holds object, expected floating point"),
            ("a.npy", np.array([["a"]]), "expected floating point"),
            ("a.npy", np.float32([[0, 1], [np.nan, 2]]), "row 1 holds NaN or infinity; make the l"),
            ("a.npy", np.float32([[0, np.inf]]), "row 0 holds NaN or infinity"),
            ("a.npy", np.float64([[1e300, 0]]), "row 0 holds NaN or infinity"),
            ("a.pt", torch.zeros(5), "has shape 5, expected n x dim"),
            ("a.pt", torch.zeros(3, 8, dtype=torch.int64), "the tensor is int64, expected floatin"),
            ("a.pt", torch.full((2, 8), float("nan")), "row 0 holds NaN or infinity"),
            ("a.pt", {"a": torch.zeros(3, 8), "b": torch.zeros(3, 8)}, "holds no single tensor; s"),
            ("a.pt", {"a": 3}, "holds no single tensor"),
            ("a.pt", [torch.zeros(3, 8)], "holds no single tensor"),
            ("a.pt", Evil(), PRIVATE),
            ("raw", b"", "is empty"),
            ("raw", b"\x93NUMPY", f"{NO_HEADER}; save one float array"),
            ("raw", b"\x93NUMPY\x01\x00\xff\xff", NO_HEADER),
            ("raw", b"\x93NUMPY\x07\x00" + b"x" * 40, NO_HEADER),
            ("raw", npy("__import__('os').system('true')"), NO_HEADER),
            ("raw", npy("(" * 9000), NO_HEADER),
            ("raw", npy("-" * 9000), NO_HEADER),
            ("raw", npy("{'descr': '<f4', \"\"\"fortran_order"), NO_HEADER),
            ("raw", floats("3"), NO_HEADER),
            ("raw", floats("(True, 8)", b"\0" * 32), NO_HEADER),
            ("raw", floats("(-3, -8)"), "has shape -3 x -8, expected"),
            ("raw", floats("(3, 8)", b"\0" * 95), "announces 96 bytes of values, 95 are there"),
            ("raw", floats("(3, 8)", b"\0" * 97), "announces 96 bytes of values, 97 are there"),
            ("raw", floats("(99999999999, 512)"), "holds 190734.9 GB of latents, at most 4 are ta"),
            ("raw", floats(f"({HUGE}, 512)", kind="<f2"), "holds 4.0 GB of latents, at most 4 are"),
            ("raw", b"PK\x03\x04 and no archive", "is a damaged zip archive"),
            ("raw", b"1.0 2.0 3.0", "is no checkpoint"),
            ("raw", pickle.dumps(Evil()), PRIVATE),
        ],
    )
    def test_what_holds_no_latents(self, save, tmp_path, name, value, text):
        path = tmp_path / name
        if name != "raw":
            save(value, name)
        else:
            path.write_bytes(value)
        with pytest.raises(InputRefused, match=f"^{re.escape(str(path))}: .*{text}"):
            open_latents(str(path))

    @pytest.mark.parametrize(
        ("save_it", "arrays", "text"),
        [
            (np.savez, {"a": rows(3, 8), "b": rows(3, 8)}, "holds the arrays a, b, and none is n"),
            (np.savez_compressed, {"w": rows(3, 8)}, "compressed.*numpy.savez, not savez_compr"),
            (np.savez, {"w": np.array([{}], dtype=object)}, "holds object, expected floating"),
        ],
    )
    def test_other_npz(self, tmp_path, save_it, arrays, text):
        save_it(tmp_path / "w.npz", **arrays)
        with pytest.raises(InputRefused, match=text):
            open_latents(str(tmp_path / "w.npz"))

    def test_nothing_there(self, tmp_path):
        with pytest.raises(InputRefused, match=r"cannot be read \(No such file .*\); check the p"):
            open_latents(str(tmp_path / "ws.npy"))
        with pytest.raises(InputRefused, match="is not a regular file"):
            open_latents(str(tmp_path))


class TestFit:
    def test_one_code_or_as_many_rows_is_asked_about(self, save):
        values = rows(6, 8)
        text = r"6 x 8: one W\+ code of this generator, or 6 w; save it as 1 x 6 x 8 .* or as 6 x 1"
        with pytest.raises(InputRefused, match=text):
            open_latents(save(values)).check(Generator(SPEC), "w")
        for answer in (values[None], values[:, None]):
            latents = open_latents(save(answer, f"{len(answer)}.npy"))
            latents.check(Generator(SPEC), "w")
        assert np.array_equal(latents.take([4, 1]), values[[4, 1]])

    def test_rows_that_look_like_z_are_noticed(self, save, caplog):
        spec = GeneratorSpec(16, {4: 6, 8: 5, 16: 4}, z_dim=64, w_dim=64, mapping_layers=8)
        torch.manual_seed(0)
        generator = Generator(spec)
        z = rows(50, 64)
        open_latents(save(z)).check(generator, "w")
        assert "look like z" in caplog.text
        assert "sampling.latent_space=z" in caplog.text
        caplog.clear()
        with torch.no_grad():
            w = generator.mapping(torch.from_numpy(z)).numpy()
        open_latents(save(w, "w.npy")).check(generator, "w")
        open_latents(save(z, "z.npy")).check(generator, "z")
        assert caplog.text == ""

    @pytest.mark.parametrize(
        ("shape", "space", "text"),
        [
            *(((3, 7), "z", None), ((3, 8), "w", None), ((3, 6, 8), "w", None)),
            ((3, 7), "w", "has shape 3 x 7, this generator takes n x 8 or n x 6 x 8 as w; give"),
            ((3, 8), "z", "has shape 3 x 8, this generator takes n x 7 as z"),
            ((3, 6, 7), "z", "has shape 3 x 6 x 7, this generator takes n x 7 as z"),
            ((3, 5, 8), "w", "has shape 3 x 5 x 8, this generator takes n x 8 or n x 6 x 8 as w"),
        ],
    )
    def test_what_fits_and_what_does_not(self, save, shape, space, text):
        told = pytest.raises(InputRefused, match=text) if text else nullcontext()
        with told:
            open_latents(save(rows(*shape))).check(Generator(SPEC), space)
