"""StyleGAN2 in pure torch: no compiled op, any resolution from 16 to 1024, any widths."""
