"""A local Hub, a login to it, and a published-to-be dataset."""

import runpy
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def published():
    """The factory of datasets (see ``published.py``)."""
    return SimpleNamespace(**runpy.run_path(str(HERE / "published.py")))


@pytest.fixture(scope="session")
def pristine(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine") / "discs"
    return published.publishable(folder, output=published.OUTPUT)


@pytest.fixture
def dataset(pristine, tmp_path):
    return Path(shutil.copytree(pristine, tmp_path / "discs"))


@pytest.fixture(scope="session")
def serving():
    return SimpleNamespace(**runpy.run_path(str(HERE / "serving.py")))


@pytest.fixture(params=["lfs"])
def hub(request, serving, tmp_path, monkeypatch):
    """A running Hub, and this process logged in to it; nobody really waits."""
    import huggingface_hub.utils._http as http
    from huggingface_hub import constants

    from l4f_datagen.hub import client

    with serving.serve(tmp_path / "hub", xet=request.param == "xet") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)  # of child processes
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_TOKEN", serving.TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", request.param == "lfs")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        server.waits = []
        clock = SimpleNamespace(sleep=server.waits.append, monotonic=time.monotonic)
        for module in (client, http):
            monkeypatch.setattr(module, "time", clock)
        yield server
        http.close_session()
