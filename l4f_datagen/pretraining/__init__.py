"""Pretraining: a StyleGAN2 generator from photographs or from the renders of a toy domain."""
