"""The Hub's rules for the YAML head of a dataset card, as its documents and refusals tell."""

import re
from typing import Any

import yaml

LICENCES = set(
    """apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
    c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
    cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl
    ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
    lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0
    odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
    unknown other""".split()  # noqa: SIM905
)
SIZES = {
    *("unknown", "n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M"),
    *("100M<n<1B", "1B<n<10B", "10B<n<100B", "100B<n<1T", "n>1T"),
}
CREATORS = {
    *("found", "crowdsourced", "expert-generated", "machine-generated", "no-annotation", "other")
}
DTYPES = {"string", "image", "int32", "int64", "float64", "bool"}


def broken_rules(card: str) -> list[str]:
    """Name every rule that a card breaks, in the words of the Hub."""
    match = re.match(r"---\n(.*?)\n---(\n|$)", card, re.DOTALL)
    if not match:
        return ["empty or missing yaml metadata in repo card"]
    try:
        head = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"invalid yaml: {error}"]
    if not isinstance(head, dict):
        return ['"metadata" must be an object']
    found = []

    def rule(ok: bool, words: str) -> None:
        if not ok:
            found.append(words)

    rule(head.get("license") in LICENCES, f'"license" must be one of {sorted(LICENCES)}')
    if head.get("license") == "other":
        name, link = head.get("license_name", ""), head.get("license_link", "https://x")
        rule(bool(re.fullmatch(r"[a-z0-9.-]+", name)), '"license_name" has a wrong form')
        ok = link in ("LICENSE", "LICENSE.md") or re.match("https?://", link)
        rule(bool(ok), '"license_link" must be LICENSE, LICENSE.md or a URL')
    for key, known in (("size_categories", SIZES), ("annotations_creators", CREATORS)):
        given = head.get(key, [])
        rule(isinstance(given, list) and set(given) <= known, f'"{key}" must be of {known}')
    for key in ("task_categories", "task_ids", "tags", "source_datasets"):
        rule(_texts(head.get(key, [])), f'"{key}" must be an array of strings')
    rule(isinstance(head.get("pretty_name", ""), str), '"pretty_name" must be a string')
    for config in head.get("configs", []):
        rule(isinstance(config.get("config_name"), str), '"configs[].config_name" is required')
        for files in config.get("data_files", []):
            rule(set(files) == {"split", "path"}, '"data_files" needs split and path')
            rule(bool(re.fullmatch(r"\w+", files.get("split", ""))), '"split" has a wrong form')
    info: Any = head.get("dataset_info", {})
    for feature in info.get("features", []):
        rule(feature.get("dtype") in DTYPES and "name" in feature, '"features" has a wrong form')
    for split in info.get("splits", []):
        rule(isinstance(split.get("num_examples"), int), '"num_examples" must be a number')
    return found


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
