"""From a plan of psi and seeds to labelled samples."""
