"""Kills a make of discs, again and again, and tells what it left; run by ``dataset/test_crash.py``.

    python crashes.py fresh FOLDER          before each change of a new folder, in turn
    python crashes.py growing FOLDER        before each change of a finished one that grows
    python crashes.py random FOLDER KILLS   at random moments, resuming what was killed

Names of formats may follow, separated by commas. Each run is a forked child, so that a hundred of
them take seconds. Prints one JSON line.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

import discs

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "open"}
N, FEWER = 9, 5


def kill_before_change(number, folder):
    """End this process, as a power cut would, before it changes the folder for the n-th time."""
    left = number

    def watch(event, args):
        nonlocal left
        if event not in CHANGES or not str(args[0]).startswith(str(folder)):
            return
        if event == "open" and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) == 0:
            return
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    sys.addaudithook(watch)


def fork(*jobs):
    """Start a child that does jobs in turn; gives its process id."""
    child = os.fork()
    if child == 0:
        try:
            for job in jobs:
                job()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return child


def was_killed(child):
    """Wait for a child; False when it came to its end, an error when it failed."""
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        sys.exit("a run failed")
    return False


def missing_files(folder):
    """What the indexes in the folder promise and the folder does not hold."""

    def rows(path):
        return map(json.loads, path.read_text().splitlines()) if path.exists() else ()

    def read(name):
        return [json.loads(path.read_bytes()) for path in folder.glob(name)]

    promised = []
    for coco in read("annotations/instances_train.json"):
        promised += [f"images/{image['file_name']}" for image in coco["images"]]
        promised += [annotation["alpha_file"] for annotation in coco["annotations"]]
    for path in folder.glob("imagefolder/*/metadata.jsonl"):
        for row in rows(path):
            names = (row["file_name"], row["mask_file_name"], row["alpha_file_name"])
            promised += [f"imagefolder/{path.parent.name}/{name}" for name in names]
    if (folder / "yolo/data.yaml").exists():
        promised += ["yolo/images/train", "yolo/labels/train"]
    if (folder / "masks").exists():
        accepted = [row for row in rows(folder / "ledger.jsonl") if row["status"] == "accepted"]
        promised += [f"masks/{row['shard']:05d}/{row['key']}.png" for row in accepted]
    for manifest in read("manifest.json"):
        promised += [name for shard in manifest["shards"] for name in shard["files"]]
        promised += manifest["indexes"]
    for marker in read(".l4f/shards/*.json"):
        promised += [name for name, _, _ in marker["files"]]
    return [name for name in promised if not (folder / name).exists()]


def before_every_change(work, make, wanted, begin):
    """Kill runs to ``N`` discs at each change in turn; each is then resumed to its end."""
    kills, bad = 0, []
    while True:
        folder = work / f"killed{kills}"
        begin(folder)
        if not was_killed(fork(partial(kill_before_change, kills, folder), partial(make, folder))):
            return {"kills": kills, "bad": bad}
        lost = missing_files(folder)
        was_killed(fork(partial(make, folder)))
        if lost or discs.files_of(folder) != wanted:
            bad.append([kills, lost])
        kills += 1


def at_random(work, make, wanted, kills_wanted):
    """Kill runs at random moments and resume them, until there were enough kills."""
    rng = random.Random(0)
    kills, ends, bad = 0, 0, []
    while kills < kills_wanted:
        folder = work / f"killed{ends}"
        start = time.perf_counter()
        was_killed(fork(partial(make, work / f"timed{ends}")))
        length = time.perf_counter() - start
        done = False
        while not done:
            child = fork(partial(make, folder))
            time.sleep(rng.uniform(0, length))
            os.kill(child, signal.SIGKILL)
            done = not was_killed(child)
            kills += not done
            if lost := missing_files(folder):
                bad.append(lost)
        if discs.files_of(folder) != wanted:
            bad.append("other bytes")
        ends += 1
    return {"kills": kills, "ends": ends, "bad": bad}


if __name__ == "__main__":
    how, work = sys.argv[1], Path(sys.argv[2])
    formats = sys.argv.pop().split(",") if "," in sys.argv[-1] else discs.ALL
    make = partial(discs.make_dataset, n=N, formats=formats)
    make(work / "undisturbed")
    given = (work, make, discs.files_of(work / "undisturbed"))
    if how == "random":
        result = at_random(*given, int(sys.argv[3]))
    elif how == "fresh":
        result = before_every_change(*given, lambda folder: None)
    else:
        make(work / "fewer", n=FEWER)
        result = before_every_change(*given, partial(shutil.copytree, work / "fewer"))
    print(json.dumps(result))
