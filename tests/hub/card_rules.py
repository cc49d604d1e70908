"""The Hub's rules for the YAML head of a dataset card, as its documents and refusals tell."""

import re

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
    name, link = head.get("license_name", ""), head.get("license_link", "LICENSE")
    other = head.get("license") == "other"
    data_files = [one for config in head.get("configs", []) for one in config["data_files"]]
    features = head.get("dataset_info", {}).get("features", [])
    rules = {
        f'"license" must be one of {sorted(LICENCES)}': head.get("license") in LICENCES,
        '"license_name" has a wrong form': not other or re.fullmatch(r"[a-z0-9.-]+", name),
        '"license_link" must be LICENSE or a URL': link == "LICENSE" or re.match("https?://", link),
        '"pretty_name" must be a string': isinstance(head.get("pretty_name", ""), str),
        '"data_files" needs split and path': all(set(f) == {"split", "path"} for f in data_files),
        '"split" has a wrong form': all(re.fullmatch(r"\w+", f["split"]) for f in data_files),
        '"features" has a wrong form': all(f["name"] and f["dtype"] in DTYPES for f in features),
    }
    for key, known in (("size_categories", SIZES), ("annotations_creators", CREATORS)):
        rules[f'"{key}" must be of {known}'] = set(head.get(key, [])) <= known
    for key in ("task_categories", "task_ids", "tags", "source_datasets"):
        given = head.get(key, [])
        texts = isinstance(given, list) and all(isinstance(one, str) for one in given)
        rules[f'"{key}" must be an array of strings'] = texts
    return [words for words, kept in rules.items() if not kept]
