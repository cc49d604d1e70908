"""Malformed and hostile files: one clear refusal each, at once, in little memory, and no effect.

Run as ``python test_hostile.py FILE...`` in an empty folder it opens each file in a forked child
that may take 1 GB more memory and 2 s of processor time, and prints what it raised, a JSON line.
"""

import json
import os
import resource
import sys
from pathlib import Path

import pytest
import torch

from l4f_datagen.checkpoints.open import open_alpha, open_checkpoint, open_generator
from l4f_datagen.core.errors import CheckpointRefused, L4FError

MEMORY, SECONDS = 1 << 30, 2
# What the refusal has to name, beyond the file.
NAMED = {
    "hostile_os_system.pkl": "os.system",
    "hostile_in_ada.pkl": "posix.system",
    "hostile_nested_load_from_bytes.pkl": "os.system",
    "hostile_nested_zip_load_from_bytes.pkl": "os.system",
    "hostile_in_tf.pkl": "os.system",
    "hostile_zip.pt": "os.system",
    "hostile_legacy.pt": "os.system",
    "foreign_class.pt": "its keys are g_ema, args",
    "truncated.pkl": "ends early",
    "truncated.pt": "zip archive",
    "image.pt": "is a PNG, JPEG or GIF image",
    "image.pkl": "is a PNG, JPEG or GIF image",
    "empty.pt": "empty",
    "empty.pkl": "empty",
    "html_error_page.pkl": "web page",
    "lfs_pointer.pt": "Git LFS pointer",
    "plain_zip.pt": "readme.txt",
    "other_dict.pt": "state_dict, epoch",
    "other_pickle.pkl": "a, b",
    "conditional_c10.pkl": "c_dim = 10",
    "architecture_resnet.pkl": "architecture = resnet",
    "stylegan3_tree.pkl": "StyleGAN3",
    "nan_weight.pkl": "b8.conv1.weight",
    "nan_weight.pt": "convs.0.conv.weight",
    "wrong_shape.pkl": "b16.conv0.weight",
    "wrong_shape.pt": "convs.1.conv.modulation.weight",
    "missing_key.pkl": "b8.conv0.affine.weight",
    "missing_key.pt": "b8.torgb.affine.bias",
    "huge_array_reconstruct.pkl": "17179869184",
    "huge_array_state.pkl": "17179869184",
    "huge_tensor_stride0.pkl": "b4.const",
}
# The source text in the first is never looked at; the others hold the generator last trained alone.
OPENED = {"hostile_module_src.pkl", "no_g_ema.pkl", "no_g_ema.pt"}
MAX_GROWTH_KIB = 200 * 1024


def _virtual_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _open(path: str) -> dict[str, object]:
    limit = _virtual_bytes() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        opener = open_alpha if "alpha" in Path(path).name else open_generator
        opener(path).build()
        out: dict[str, object] = {"result": "opened"}
    except L4FError as error:
        out = {"result": type(error).__name__, "code": error.exit_code, "line": str(error)}
    out["grown_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return out


def open_in_children(paths: list[str]) -> None:
    for path in paths:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, json.dumps(_open(path)).encode())
            except BaseException as error:  # anything that escapes is what the test looks for
                os.write(writer, json.dumps({"result": f"escaped: {error!r}"}).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        answer = json.loads(text) if text else {"result": f"killed: {status}"}
        print(json.dumps({"path": path, **answer}), flush=True)


def _check(answers, folder, said):
    """Check what came of the files in ``folder``: refused with the words, None where they open."""
    for (name, words), answer in zip(said.items(), answers, strict=True):
        assert answer["grown_kib"] < MAX_GROWTH_KIB, (name, answer)
        if words is None:
            assert answer["result"] == "opened"
            continue
        assert (answer["result"], answer["code"]) == ("CheckpointRefused", 4), (name, answer)
        assert answer["line"].startswith(str(folder / name))
        assert "\n" not in answer["line"]
        assert words in answer["line"], (name, answer["line"])


def test_every_bad_reference_file_is_refused_within_bounds(
    reference_dir, manifest, tmp_path, run_alone
):
    said = NAMED | dict.fromkeys(OPENED)
    assert set(said) == {name for name, entry in manifest.items() if entry["kind"] == "bad"}
    answers = run_alone(__file__, [reference_dir / name for name in said], tmp_path)
    _check(answers, reference_dir, said)


class _Runs:
    def __reduce__(self):
        return os.system, ("echo x > PWNED",)


def _pair_of(index):
    """Operations for a pair of twice the same remembered thing, remembered as the next."""
    return bytes([ord("h"), index, ord("h"), index, 0x86, 0x94])


def _bombs(folder, foreign):
    """Write small files that ask for much; return what the refusal says, by name."""
    long = b"\x80\x04X" + (1 << 20).to_bytes(4, "little") + b"x" * (1 << 20) + b"\x94"
    bombs = {
        # Each mention of the global would keep its name of 1 MB once more.
        "global": (long + b"\x8c\x09Generator\x94" + b"h\0h\1\x93" * 2000 + b".", "too long"),
        # A memo index of 4 billion makes pickle's own machine take 64 GB.
        "memo": (b"\x80\x04Nr\xff\xff\xff\xff.", "NoneType"),
        "bytes": (b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little"), "ends early"),
        "text": (b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little"), "bytes of text"),
        "frame": (b"\x80\x04\x95" + (1 << 40).to_bytes(8, "little") + b"N.", "NoneType"),
        "integer": (b"\x80\x04\x8b\xff\xff\xff\x7f", "integer too long"),
        "operations": (b"\x80\x04" + b"N0" * 500_000 + b".", "operations"),
        # Each pass doubles what a walk would see; a list that holds itself has no end.
        "doubling": (b"\x80\x04]\x94" + b"".join(_pair_of(k) for k in range(200)) + b".", "tuple"),
        "endless": (b"\x80\x04}\x94\x8c\x05G_ema]\x94h\x01as.", "G_ema"),
        "deep": (b"\x80\x04" + b"(" * 100_000 + b"t" * 100_000 + b".", "tuple"),
        "deep key": (b"\x80\x04}" + b")" + b"\x85" * 100_000 + b"Ns.", "dict key"),
        "safetensors header": ((1 << 40).to_bytes(8, "little") + b"{" + b" " * 50, "starts with"),
        "no pickle": (b"(dp0\nS'a'\np1\n", "no valid pickle"),
        "extension": (b"\x80\x04\x82\x01.", "registered extensions"),
        "old object": (b"\x80\x02(o.", "objects of Python 2"),
        "old instance": (b"(ios\nsystem\n.", "os.system"),
        "outside data": (b"\x80\x05\x97.", "data outside the file"),
        "persistent": (b"\x80\x04NQ.", "persistent id"),
        "underflow": (b"\x80\x04s.", "no valid pickle"),
    }
    for name, (data, _) in bombs.items():
        (folder / name).write_bytes(data)
    state = foreign.rosinality_state(foreign.make_generator())
    shared = foreign.rosinality_state(foreign.make_generator(z_dim=128, w_dim=128))
    for k in range(1, 31):  # thirty layers of the same 64 KB would be read as 2 MB
        shared |= {f"style.{k}.{part}": shared[f"style.1.{part}"] for part in ("weight", "bias")}
    expanded, wide = torch.zeros(1).expand(1 << 20), torch.zeros(1, 100_000, 1, 3, 3)
    values = {
        "shared": (shared, "bytes of weights, but has"),
        "expanded": ({**state, "input.input": expanded}, "storage holds 1 values"),
        # A first column of 100,000 channels: the network it announces would take 360 GB.
        "wide": ({**state, "convs.1.conv.weight": wide}, "expected"),
        "runs": (_Runs(), "system"),
        "runs legacy": (_Runs(), "system"),
    }
    for name, (value, _) in values.items():
        foreign.write_torch(folder / name, {"g_ema": value}, legacy="legacy" in name)
    return {name: words for name, (_, words) in {**bombs, **values}.items()}


def test_small_files_that_ask_for_much_are_refused_within_bounds(tmp_path, foreign, run_alone):
    files, empty = tmp_path / "files", tmp_path / "empty"
    files.mkdir()
    empty.mkdir()
    said = _bombs(files, foreign)
    _check(run_alone(__file__, [files / name for name in said], empty), files, said)


def test_names_in_a_message_cannot_write_to_the_terminal(refused):
    line = refused({"\x1b[2J\nroot": 1, "x" * 5000: 2}, "its keys are", pickled=True)
    assert "\x1b" not in line
    assert len(line) < 800


def test_what_is_no_file_or_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "secret").write_bytes(b"x")
    monkeypatch.setattr(Path, "open", denied)
    said = {"none": "No such file", ".": "not a regular file", "pipe": "not a regular file"}
    for name, words in {**said, "secret": "Permission denied"}.items():
        with pytest.raises(CheckpointRefused, match=words):
            open_checkpoint(tmp_path / name)


if __name__ == "__main__":
    open_in_children(sys.argv[1:])
