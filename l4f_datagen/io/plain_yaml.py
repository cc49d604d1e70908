"""Plain YAML: text in; mappings, lists, text, numbers, booleans and null out; nothing else."""

import json
from typing import Any

import yaml

MAX_DEPTH = 50  # a recipe has four levels
SHOWN_CHARACTERS = 80  # of a value in an error, which is one line


def plain_yaml(text: str) -> Any:
    """Read YAML from an untrusted file.

    Raises:
        ValueError: not YAML, a key given twice, nested beyond reason, aliases (a few lines of
            which can unfold to gigabytes), or dates, sets and other tagged values. One line, at
            most 200 characters.
    """
    try:
        _check_events(text)
        _check_keys(yaml.compose(text, yaml.SafeLoader))
        return json.loads(json.dumps(yaml.safe_load(text), default=_refuse_value))
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases such as *name are not read, write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:  # the parser's time grows with the square of the depth
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _check_keys(node: yaml.Node | None) -> None:
    """Refuse a key given twice; PyYAML would silently keep the last."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            _check_keys(value)
            if not isinstance(key, yaml.ScalarNode):
                continue  # no key that JSON has; refused when it is made
            if key.value in seen:
                name, line = key.value[:SHOWN_CHARACTERS], key.start_mark.line + 1
                raise ValueError(f"the key {name} is given twice, again in line {line}")
            seen.add(key.value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item)


def _refuse_value(value: Any) -> Any:
    kind = type(value).__name__
    raise ValueError(f"{str(value)[:SHOWN_CHARACTERS]} is a {kind} to YAML, quote it if it is text")
