import hashlib
import json

import numpy as np
import pytest

from l4f_datagen.annotations.truth import TruthMask
from l4f_datagen.core.errors import UsageError
from l4f_datagen.scoring import Pair, score_pairs
from l4f_datagen.scoring.score_report import record_scores


def report():
    truth = np.zeros((8, 8), bool)
    truth[2:6, 2:6] = True
    mask = truth.copy()
    mask[2] = False
    settings = {"truth": "some/where/export.ndjson", "truth_format": "labelbox"}
    return score_pairs([Pair("a", TruthMask(truth), mask)], settings=settings)


def test_the_record_holds_score_intervals_and_the_manifest_it_belongs_to(tmp_path):
    (tmp_path / "manifest.json").write_text('{"schema": 1}')
    made = report()
    path = record_scores(tmp_path, made)
    assert path == tmp_path / "scores.json"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "scores.json"]
    record = json.loads(path.read_text())
    assert record["truth"] == "export.ndjson"
    assert record["n"] == 1
    assert record["metrics"]["miou"] == made.scores.miou
    assert record["metrics"]["iou_object"] == 12 / 16
    assert record["intervals"]["miou"] == [made.intervals["miou"].low, made.intervals["miou"].high]
    assert record["manifest_sha256"] == hashlib.sha256(b'{"schema": 1}').hexdigest()
    assert str(tmp_path) not in path.read_text()
    before = path.read_bytes()
    record_scores(tmp_path, made)
    assert path.read_bytes() == before


def test_a_folder_without_a_manifest_or_not_to_be_written_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"holds no manifest\.json; give --record with --pred"):
        record_scores(tmp_path, report())
    assert not list(tmp_path.iterdir())
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "scores.json.part").mkdir()
    with pytest.raises(UsageError, match=r"scores\.json: cannot be written"):
        record_scores(tmp_path, report())
