"""Training a generator on rendered scenes."""
