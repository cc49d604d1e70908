"""Toy domains: drawn scenes whose masks are exact. No torch."""
