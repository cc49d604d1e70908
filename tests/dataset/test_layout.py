"""What people write below the marker of a card is kept byte for byte."""

import pytest

from l4f_datagen.dataset import layout
from l4f_datagen.dataset.layout import CARD_MARKER, join_card, keep_notes, read_notes, split_card


@pytest.mark.parametrize(
    "notes", ["", "\n\nWords.\n", "\r\nWindows\r\n", f"\n{CARD_MARKER}\ntwice"]
)
def test_split_and_join_are_inverse(notes):
    assert split_card(join_card("head\n", notes)) == ("head\n", notes or "\n")
    assert split_card("no marker") == ("no marker", None)


def test_notes_outlive_their_card_until_they_are_emptied(tmp_path):
    card, kept = tmp_path / "README.md", tmp_path / layout.KEPT
    assert read_notes(tmp_path) == ""
    keep_notes(tmp_path)
    assert list(tmp_path.iterdir()) == []
    data = CARD_MARKER.encode() + b"\n\xff no utf-8\n"
    card.write_bytes(b"head\n" + data)
    keep_notes(tmp_path)
    card.unlink()
    keep_notes(tmp_path)  # a second time, with no card: nothing changes
    assert layout.encode_card(join_card("", read_notes(tmp_path))) == data
    card.write_text(join_card("head\n", ""))
    assert (read_notes(tmp_path), kept.exists()) == ("", True)
    keep_notes(tmp_path)
    assert not kept.exists()
    card.write_text("a card without the marker")
    assert read_notes(tmp_path) == ""
