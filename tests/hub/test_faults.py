"""Everything a Hub and the way there can do wrong: one line, nothing lost, no token anywhere."""

import logging
import traceback

import pytest

from l4f_datagen.core.errors import L4FError, NetworkError
from l4f_datagen.hub import plan_push, push
from l4f_datagen.hub.session import in_words

NAME = "user/discs"


def publish(dataset, name=NAME, **options):
    return push(plan_push(dataset, name, **options), lambda _: None)


CREATE, PREUPLOAD, COMMIT = "POST /api/repos/create", "POST .*/preupload/", "POST .*/commit/"
PUT, TREE = "PUT /lfs/", "GET .*/tree/"


@pytest.mark.parametrize(
    ("match", "code"),
    [
        *((where, 500) for where in (CREATE, PREUPLOAD, COMMIT, PUT, TREE)),
        *((where, 503) for where in (CREATE, PUT)),
        *((COMMIT, code) for code in (409, 412)),
    ],
)
def test_a_fault_that_passes_is_outwaited(hub, serving, dataset, match, code):
    hub.faults.append(serving.Fault(match, serving.status(code, "not now"), times=2))
    publish(dataset)
    assert not hub.faults
    assert len(hub.commits(NAME)) == 2
    for path in hub.files(NAME):
        assert hub.data(NAME, path) == (dataset / path).read_bytes()


@pytest.mark.parametrize("match", [CREATE, PREUPLOAD, COMMIT, PUT, TREE])
def test_retry_after_is_honoured(hub, serving, dataset, match):
    hub.faults.append(serving.Fault(match, serving.status(429, "slow down", Retry_After="7")))
    publish(dataset)
    assert max(hub.waits) >= 7
    assert "README.md" in hub.files(NAME)


@pytest.mark.parametrize("match", [CREATE, COMMIT, PUT])
def test_a_cut_connection_is_made_anew(hub, serving, dataset, match):
    hub.faults.append(serving.Fault(match, serving.reset))
    publish(dataset)
    assert not hub.faults
    assert "README.md" in hub.files(NAME)


@pytest.mark.parametrize("match", [CREATE, COMMIT, PUT])
def test_a_slow_hub_is_waited_for(hub, serving, dataset, match):
    hub.faults.append(serving.Fault(match, serving.slow(0.3), times=2))
    publish(dataset)
    assert "README.md" in hub.files(NAME)


@pytest.mark.parametrize(
    ("match", "code", "words"),
    [
        (COMMIT, 401, "the token is not valid .401.*; make one at https"),
        (COMMIT, 403, "this token may not write there .403: not now"),
        (PREUPLOAD, 404, "no such dataset or revision"),
        (COMMIT, 409, "somebody else is writing there .409: not now"),
        (COMMIT, 412, "somebody else wrote there meanwhile .412: not now"),
        (PREUPLOAD, 429, "the Hub asks to slow down .429: not now"),
        (PUT, 413, "the Hub finds a file too big"),
        (PUT, 500, "the Hub failed .500: not now.*; wait a while and run the same command again"),
        (CREATE, 418, "the Hub refused .418: not now"),
    ],
)
def test_a_fault_that_stays_is_told_in_one_line_and_a_re_run_finishes(
    hub, serving, dataset, match, code, words
):
    hub.faults.append(serving.Fault(match, serving.status(code, f"not now {serving.TOKEN}"), 999))
    with pytest.raises(NetworkError, match=rf"^user/discs: {words}") as caught:
        publish(dataset)
    assert caught.value.exit_code == 5
    shown = "".join(traceback.format_exception(caught.value))
    assert serving.TOKEN not in shown
    assert "manifest.json" not in (hub.files(NAME) if hub.repos else {})
    hub.faults.clear()
    publish(dataset)
    assert (dataset / "manifest.json").read_bytes() == hub.data(NAME, "manifest.json")


def test_a_connection_that_stays_cut(hub, serving, dataset):
    hub.faults.append(serving.Fault(".", serving.reset, 999))
    with pytest.raises(NetworkError, match=r"user/discs: the connection failed .*see to the netw"):
        publish(dataset)


def test_a_hub_that_says_nothing(hub, serving, dataset, monkeypatch):
    monkeypatch.setattr("l4f_datagen.hub.session.STALL_S", 0.1)
    hub.faults.append(serving.Fault(CREATE, serving.slow(0.5), 999))
    with pytest.raises(NetworkError, match=r"user/discs: the Hub was silent for 0.1 s"):
        publish(dataset)


@pytest.mark.parametrize("hub", ["xet"], indirect=True)
def test_xet_without_its_store(hub, dataset):
    hub.xet = None
    with pytest.raises(NetworkError, match=r"^user/discs: "):
        publish(dataset)
    assert hub.commits(NAME) == []


def test_no_token(hub, dataset, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(NetworkError, match=r"token: there is none; set HF_TOKEN or log in"):
        publish(dataset)
    monkeypatch.setenv("HF_TOKEN", "hf_pasted wrong")
    with pytest.raises(NetworkError, match=r"has characters no token has") as caught:
        publish(dataset)
    assert "pasted" not in str(caught.value)
    assert hub.asked == []


def test_login_file_is_used(hub, serving, dataset, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "no-token").write_text(f"{serving.TOKEN}\n")
    publish(dataset)
    assert "README.md" in hub.files(NAME)


def test_offline(hub, dataset, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NetworkError, match=r"HF_HUB_OFFLINE: is set; unset it"):
        publish(dataset)


def test_wrong_token(hub, dataset, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    with pytest.raises(NetworkError, match=r"user/discs: the token is not valid .401") as caught:
        publish(dataset)
    assert "hf_unknown" not in "".join(traceback.format_exception(caught.value))


def test_name_of_another_owner(hub, serving, dataset, monkeypatch):
    with pytest.raises(NetworkError, match=r"other/discs: this token may not write there .403"):
        publish(dataset, "other/discs")
    publish(dataset)
    monkeypatch.setenv("HF_TOKEN", serving.READER)
    card = dataset / "README.md"
    card.write_text(card.read_text() + "more")
    with pytest.raises(
        NetworkError, match=r"may not write there .403: your token has no write acc"
    ):
        publish(dataset)


def test_repository_of_another_type(hub, serving, dataset):
    hub.repos["model", NAME] = serving.Repo()
    with pytest.raises(NetworkError, match=r"the name is taken by something that is no dataset"):
        publish(dataset)


def leak(token, error):
    with in_words("x", token):
        logging.getLogger("huggingface_hub.x").warning("sent %s", token)
        logging.getLogger("x").warning("sent %s", token)
        raise error(f"header {token}")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError, r"x: the connection failed .header [*]{3}."),
        (KeyError, r"x: KeyError: 'header [*]{3}'; report this"),
    ],
)
def test_token_stays_out_of_logs_and_tracebacks(serving, caplog, error, words):
    with caplog.at_level("WARNING"), pytest.raises(NetworkError, match=words) as caught:
        leak(serving.TOKEN, error)
    assert "sent ***" in caplog.text
    assert serving.TOKEN not in caplog.text
    assert serving.TOKEN not in "".join(traceback.format_exception(caught.value))


def test_our_own_faults_keep_their_traceback_and_errors_their_words(serving):
    with pytest.raises(KeyError), in_words("x", serving.TOKEN):
        raise KeyError("ours")
    with pytest.raises(L4FError, match=r"a: b; c"), in_words("x", serving.TOKEN):
        raise L4FError("a", "b", "c")
