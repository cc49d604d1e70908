"""What a Hub and the network can do wrong: one line, nothing lost, no token shown."""

import traceback

import pytest

from l4f_datagen.core.errors import L4FError, NetworkError
from l4f_datagen.hub.client import quiet, translate_errors
from l4f_datagen.hub.publish import plan_push, push

NAME = "user/discs"
SLOW = pytest.mark.slow
CREATE, PREUPLOAD, COMMIT = "POST /api/repos/create", "POST .*/preupload/", "POST .*/commit/"
PUT, TREE, WHOAMI = "PUT /lfs/", "GET .*/tree/", "GET /api/whoami"


def publish(dataset, name=NAME, **options):
    return push(plan_push(dataset, name, **options))


@pytest.mark.parametrize(
    ("match", "fault"),
    [
        *((where, 500) for where in (CREATE, PUT)),
        (COMMIT, "reset"),
        *(pytest.param(where, 500, marks=SLOW) for where in (WHOAMI, PREUPLOAD, COMMIT, TREE)),
        *(pytest.param(COMMIT, code, marks=SLOW) for code in (409, 412, 503)),
        *(pytest.param(where, "reset", marks=SLOW) for where in (CREATE, PUT)),
        pytest.param(PUT, "slow", marks=SLOW),
    ],
)
def test_a_fault_that_passes_is_waited_for(hub, serving, dataset, caplog, match, fault):
    acts = {"reset": serving.reset, "slow": serving.slow(0.2)}
    act = acts.get(fault) or serving.status(fault, "not now")
    hub.faults.append(serving.Fault(match, act, times=1 if fault == "reset" else 2))
    with caplog.at_level("INFO"):
        publish(dataset)
    assert not hub.faults
    for path in hub.files(NAME):
        assert hub.data(NAME, path) == (dataset / path).read_bytes()
    if (match, fault) == (CREATE, 500):
        assert "the Hub failed (500): trying again in 1 s" in caplog.messages
    assert all(record.name.startswith("l4f_datagen") for record in caplog.records)


@pytest.mark.parametrize(
    "match", [COMMIT, *(pytest.param(m, marks=SLOW) for m in (CREATE, PREUPLOAD, PUT, TREE))]
)
def test_retry_after_is_honoured(hub, serving, dataset, match):
    hub.faults.append(serving.Fault(match, serving.status(429, "slow down", Retry_After="7")))
    publish(dataset)
    assert max(hub.waits) >= 7
    assert "README.md" in hub.files(NAME)


@pytest.mark.parametrize(
    ("match", "code", "words"),
    [
        (COMMIT, 401, "the token is not valid .401.*; make one at https"),
        (COMMIT, 403, "this token may not write there .403: not now"),
        (PREUPLOAD, 404, "there is no such dataset or revision"),
        (COMMIT, 409, "another upload is in progress there .409: not now"),
        (PREUPLOAD, 429, "too many requests for the Hub .429: not now"),
        (PUT, 413, "a file is too large for the Hub"),
        (PUT, 500, "the Hub failed .500: not now.*; wait a few minutes and run the same command"),
        (CREATE, 418, "the Hub refused the request .418: not now"),
    ],
)
def test_a_fault_that_stays_is_one_line_and_a_rerun_finishes(
    hub, serving, dataset, match, code, words
):
    hub.faults.append(serving.Fault(match, serving.status(code, f"not now {serving.TOKEN}"), 999))
    with pytest.raises(NetworkError, match=rf"^user/discs: {words}") as caught:
        publish(dataset)
    assert caught.value.exit_code == 5
    assert serving.TOKEN not in "".join(traceback.format_exception(caught.value))
    assert "manifest.json" not in (hub.files(NAME) if hub.repos else {})
    hub.faults.clear()
    publish(dataset)
    assert (dataset / "manifest.json").read_bytes() == hub.data(NAME, "manifest.json")


def test_a_connection_that_stays_cut(hub, serving, dataset):
    hub.faults.append(serving.Fault(".", serving.reset, 999))
    with pytest.raises(NetworkError, match=r"user/discs: the connection failed .*check the netwo"):
        publish(dataset)


def test_a_hub_that_does_not_answer(hub, serving, dataset, monkeypatch):
    monkeypatch.setattr("l4f_datagen.hub.client.STALL_S", 0.1)
    hub.faults.append(serving.Fault(CREATE, serving.slow(0.5), 999))
    with pytest.raises(NetworkError, match=r"user/discs: the Hub did not answer for 0.1 s"):
        publish(dataset)


@pytest.mark.parametrize("hub", ["xet"], indirect=True)
def test_xet_without_its_store(hub, dataset):
    hub.xet = None
    with pytest.raises(NetworkError, match=r"^user/discs: "):
        publish(dataset)
    assert hub.commits(NAME) == ["Begin discs"]


def test_tokens(hub, serving, dataset, monkeypatch, tmp_path):
    for token, words in (
        ("hf_pasted wrong", "Hugging Face token: contains characters that no token has"),
        ("hf_unknown", r"user/discs: the token is not valid .401"),
        (serving.READER, "Hugging Face token: may only read; make one with write access"),
    ):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(NetworkError, match=words) as caught:
            publish(dataset)
        assert token not in "".join(traceback.format_exception(caught.value))
    assert hub.repos == {}
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(NetworkError, match=r"token: is missing; set HF_TOKEN or log in"):
        publish(dataset)
    (tmp_path / "no-token").write_text(f"{serving.TOKEN}\n")  # the login's file
    publish(dataset)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NetworkError, match=r"HF_HUB_OFFLINE: is set; unset it"):
        publish(dataset)


def test_names_of_other_owners(hub, serving, dataset):
    with pytest.raises(NetworkError, match=r"other/discs: other is not among user; use a name of"):
        publish(dataset, "other/discs")
    hub.repos["other/discs"] = serving.Repo()
    with pytest.raises(NetworkError, match=r"other/discs: this token may not write there .403"):
        publish(dataset, "other/discs")
    assert not [line for line in hub.asked if line.startswith("POST")]


def test_the_client_is_quiet_and_as_loud_as_before_afterwards(caplog):
    import logging

    loud = logging.getLogger("huggingface_hub")
    before = loud.level
    with quiet():
        logging.getLogger("huggingface_hub.x").warning("Retrying")
    assert not caplog.text
    assert loud.level == before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError, r"x: the connection failed .header [*]{3}."),
        (KeyError, r"x: KeyError: 'header [*]{3}'; report this"),
    ],
)
def test_tokens_stay_out_of_tracebacks(serving, error, words):
    with pytest.raises(NetworkError, match=words) as caught, translate_errors("x", serving.TOKEN):
        raise error(f"header {serving.TOKEN}")
    assert serving.TOKEN not in "".join(traceback.format_exception(caught.value))


def test_own_defects_keep_their_traceback_and_errors_their_words(serving):
    with pytest.raises(KeyError), translate_errors("x", serving.TOKEN):
        raise KeyError("ours")
    with pytest.raises(L4FError, match=r"a: b; c"), translate_errors("x", serving.TOKEN):
        raise L4FError("a", "b", "c")
