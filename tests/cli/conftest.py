"""Commands that have to end well."""

import json

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def done(cli_run):
    """Run a command; the test fails with what it said where it does not end well."""

    def run(*words):
        result = cli_run(*words)
        assert result.exit_code == 0, result.output
        return result

    return run


@pytest.fixture
def told(done):
    """Run a command with --json and read what it tells."""
    return lambda *words: json.loads(done(*words, "--json").stdout)
