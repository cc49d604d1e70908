"""A local Hub, a login to it, and a published-to-be dataset."""

import runpy
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest


def helpers(name):
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name(name))))


@pytest.fixture(scope="session")
def published():
    """The factory of datasets."""
    return helpers("published.py")


@pytest.fixture(scope="session")
def serving():
    return helpers("serving.py")


@pytest.fixture(scope="session")
def pristine(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine") / "discs"
    return published.publishable(folder, output=published.OUTPUT)


@pytest.fixture
def dataset(pristine, tmp_path):
    return Path(shutil.copytree(pristine, tmp_path / "discs"))


@pytest.fixture
def publish(dataset):
    """Push ``dataset``, or another folder, to a name."""
    from l4f_datagen.hub.publish import plan_push, push

    def to(folder=dataset, name="user/discs", *, replace=False, **options):
        return push(plan_push(folder, name, **options), replace=replace)

    return to


@pytest.fixture(params=["lfs"])
def hub(request, serving, tmp_path, monkeypatch):
    """A running Hub, and this process logged in to it; nobody really waits."""
    import huggingface_hub.utils._http as http
    from huggingface_hub import constants

    from l4f_datagen.hub import client

    with serving.serve(tmp_path / "hub", xet=request.param == "xet") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)  # of child processes
        monkeypatch.setenv("HF_TOKEN", serving.TOKEN)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        for name, value in {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HUB_DISABLE_XET": request.param == "lfs",
            "HF_HUB_OFFLINE": False,
            "HF_TOKEN_PATH": str(tmp_path / "no-token"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        server.waits = []
        clock = SimpleNamespace(sleep=server.waits.append, monotonic=time.monotonic)
        for module in (client, http):
            monkeypatch.setattr(module, "time", clock)
        yield server
        http.close_session()
