"""Foreign checkpoints in, our weights and facts out; nothing in a file is ever executed."""
