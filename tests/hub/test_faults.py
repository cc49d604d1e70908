"""What a Hub and the network can do wrong: one line, nothing lost, no token shown."""

import logging
import traceback

import pytest

from l4f_datagen.core.errors import L4FError, NetworkError
from l4f_datagen.hub.client import quiet, translate_errors

NAME = "user/discs"
CREATE, PREUPLOAD, COMMIT = "POST /api/repos/create", "POST .*/preupload/", "POST .*/commit/"
PUT, TREE, WHOAMI = "PUT /lfs/", "GET .*/tree/", "GET /api/whoami"


def slow(*cases):
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


@pytest.mark.parametrize(
    ("match", "fault"),
    [
        *((CREATE, 500), (PUT, 500), (COMMIT, "reset"), (COMMIT, 429)),
        *slow((WHOAMI, 500), (PREUPLOAD, 500), (COMMIT, 500), (TREE, 500)),
        *slow((COMMIT, 409), (COMMIT, 412), (COMMIT, 503), (CREATE, "reset"), (PUT, "reset")),
        *slow((PUT, "slow"), (CREATE, 429), (PREUPLOAD, 429), (PUT, 429), (TREE, 429)),
    ],
)
def test_a_fault_that_passes_is_waited_for(hub, serving, dataset, publish, caplog, match, fault):
    acts = {"reset": serving.reset, "slow": serving.slow(0.2)}
    acts[429] = serving.status(429, "slow down", Retry_After="7")
    act = acts.get(fault) or serving.status(fault, "not now")
    hub.faults.append(serving.Fault(match, act, times=1 if fault in ("reset", 429) else 2))
    with caplog.at_level("INFO"):
        publish()
    assert not hub.faults
    for path in hub.files(NAME):
        assert hub.data(NAME, path) == (dataset / path).read_bytes()
    assert fault != 429 or max(hub.waits) >= 7
    if (match, fault) == (CREATE, 500):
        assert "the Hub failed (500): trying again in 1 s" in caplog.messages
    assert all(record.name.startswith("l4f_datagen") for record in caplog.records)


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
        (".", "reset", "the connection failed .*check the netwo"),
        (CREATE, "slow", "the Hub did not answer for 0.1 s"),
    ],
)
def test_a_fault_that_stays_is_one_line_and_a_rerun_finishes(
    hub, serving, dataset, publish, monkeypatch, match, code, words
):
    acts = {"reset": serving.reset, "slow": serving.slow(0.5)}
    act = acts.get(code) or serving.status(code, f"not now {serving.TOKEN}")
    hub.faults.append(serving.Fault(match, act, 999))
    with monkeypatch.context() as patch:
        patch.setattr("l4f_datagen.hub.client.STALL_S", 0.1 if code == "slow" else 120)
        with pytest.raises(NetworkError, match=rf"^user/discs: {words}") as caught:
            publish()
    assert caught.value.exit_code == 5
    assert serving.TOKEN not in "".join(traceback.format_exception(caught.value))
    assert "manifest.json" not in (hub.files(NAME) if hub.repos else {})
    hub.faults.clear()
    publish()
    assert (dataset / "manifest.json").read_bytes() == hub.data(NAME, "manifest.json")


@pytest.mark.parametrize("hub", ["xet"], indirect=True)
def test_xet_without_its_store(hub, publish):
    hub.xet = None
    with pytest.raises(NetworkError, match=r"^user/discs: "):
        publish()
    assert hub.commits(NAME) == ["Begin discs"]


def test_tokens(hub, serving, publish, monkeypatch, tmp_path):
    for token, words in (
        ("hf_pasted wrong", "Hugging Face token: contains characters that no token has"),
        ("hf_unknown", r"user/discs: the token is not valid .401"),
        (serving.READER, "Hugging Face token: may only read; make one with write access"),
        (None, "token: is missing; set HF_TOKEN or log in"),
    ):
        monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(NetworkError, match=words) as caught:
            publish()
        assert str(token) not in "".join(traceback.format_exception(caught.value))
    assert hub.repos == {}
    (tmp_path / "no-token").write_text(f"{serving.TOKEN}\n")  # the login's file
    publish()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NetworkError, match=r"HF_HUB_OFFLINE: is set; unset it"):
        publish()


def test_names_of_other_owners(hub, serving, publish):
    with pytest.raises(NetworkError, match=r"other/discs: other is not among user; use a name of"):
        publish(name="other/discs")
    hub.repos["other/discs"] = serving.Repo()
    with pytest.raises(NetworkError, match=r"other/discs: this token may not write there .403"):
        publish(name="other/discs")
    assert not [line for line in hub.asked if line.startswith("POST")]


def test_the_client_is_quiet_and_as_loud_as_before_afterwards(caplog):
    loud = logging.getLogger("huggingface_hub")
    before = loud.level
    with quiet():
        logging.getLogger("huggingface_hub.x").warning("Retrying")
    assert not caplog.text
    assert loud.level == before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("header {}"), r"x: the connection failed .header [*]{3}."),
        (KeyError("header {}"), r"x: KeyError: 'header [*]{3}'; report this"),
        (KeyError("ours"), "^'ours'$"),  # own defects keep their traceback
        (L4FError("a", "b", "c"), "^a: b; c$"),
    ],
)
def test_tokens_stay_out_of_tracebacks(serving, error, words):
    secret = "{}" in str(error)
    if secret:
        error = type(error)(error.args[0].format(serving.TOKEN))
    with pytest.raises(Exception, match=words) as caught, translate_errors("x", serving.TOKEN):
        raise error
    assert (caught.value is error) == (not secret)
    assert serving.TOKEN not in "".join(traceback.format_exception(caught.value))
