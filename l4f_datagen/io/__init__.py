"""Files in and out: staged writes, photographs, YAML, downloads, PNG."""
