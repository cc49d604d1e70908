import json
import os
import subprocess
import sys

import numpy as np

READ = """
import json, sys, datasets
parts = datasets.load_dataset("imagefolder", data_dir=sys.argv[1])
print(json.dumps({
    split: {
        "columns": sorted(rows.column_names),
        "modes": [rows[0][name].mode for name in ("image", "mask", "label", "alpha")],
        "rows": [
            [row["key"], row["image_id"], row["psi"], row["coverage"],
             *(sum(row[name].tobytes()) for name in ("image", "mask", "label", "alpha"))]
            for row in rows
        ],
    }
    for split, rows in parts.items()
}))
"""


def test_load_dataset_gives_pictures_and_columns(discs, tmp_path):
    folder = tmp_path / "discs"
    discs.make_dataset(folder, 12, formats=["imagefolder"], blocks=discs.split_blocks)
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    run = subprocess.run(
        [sys.executable, "-c", READ, str(folder / "imagefolder")],
        env=env,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    read = json.loads(run.stdout.splitlines()[-1])
    assert set(read) == {"train", "validation"}
    for split, in_val in (("train", False), ("validation", True)):
        assert read[split]["columns"] == sorted(
            {"image", "mask", "label", "alpha", "key", "image_id", "psi", "seed", "coverage"}
            | {"width", "height", "border_contact"}
        )
        assert read[split]["modes"] == ["RGB", "L", "L", "L"]
        assert read[split]["rows"] == [
            [
                *(disc.key, disc.image_id, 1.0, disc.mask.mean()),
                int(disc.image.sum()),
                int(disc.mask.sum()) * 255,
                int(disc.mask.sum()),
                int(np.rint(disc.alpha * 255).sum()),
            ]
            for disc in discs.accepted_discs(12)
            if (disc.seed % 3 == 0) == in_val
        ]


def test_every_listed_file_is_there(discs, tmp_path):
    output = {"image_format": "webp"}
    discs.make_dataset(tmp_path, 9, formats=["imagefolder"], output=output)
    lines = (tmp_path / "imagefolder/train/metadata.jsonl").read_text().splitlines()
    listed = {
        f"imagefolder/train/{json.loads(line)[name]}"
        for line in lines
        for name in ("file_name", "mask_file_name", "label_file_name", "alpha_file_name")
    }
    found = {name for name in discs.files_of(tmp_path) if name.endswith((".png", ".webp"))}
    assert listed == found
    assert len(listed) == 36
