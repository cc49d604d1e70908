"""What people write below the marker of a card is kept byte for byte."""

import pytest

from l4f_datagen.dataset.layout import (
    CARD_MARKER,
    KEPT,
    encode_card,
    join_card,
    keep_notes,
    read_notes,
    split_card,
)


@pytest.mark.parametrize(
    "notes", ["", "\n\nWords.\n", "\r\nWindows\r\n", f"\n{CARD_MARKER}\ntwice"]
)
def test_split_and_join_are_inverse(notes):
    above, below = split_card(join_card("head\n", notes))
    assert above == "head\n"
    assert below == (notes or "\n")
    assert split_card("no marker") == ("no marker", None)


def test_notes_outlive_their_card(tmp_path):
    card = tmp_path / "README.md"
    assert read_notes(tmp_path) == ""
    keep_notes(tmp_path)
    assert list(tmp_path.iterdir()) == []
    data = CARD_MARKER.encode() + b"\n\xff no utf-8\n"
    card.write_bytes(b"head\n" + data)
    keep_notes(tmp_path)
    card.unlink()
    keep_notes(tmp_path)  # a second time, with no card: nothing changes
    assert encode_card(join_card("", read_notes(tmp_path))) == data


def test_emptied_notes_are_forgotten(tmp_path):
    card = tmp_path / "README.md"
    card.write_text(join_card("head\n", "\nold words\n"))
    keep_notes(tmp_path)
    assert (tmp_path / KEPT).exists()
    card.write_text(join_card("head\n", ""))
    assert read_notes(tmp_path) == ""
    keep_notes(tmp_path)
    assert not (tmp_path / KEPT).exists()
    card.write_text("a card without the marker")
    assert read_notes(tmp_path) == ""
