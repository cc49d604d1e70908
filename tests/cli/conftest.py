"""Commands that have to end well."""

import json

import pytest


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
