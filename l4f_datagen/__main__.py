"""``python -m l4f_datagen``."""

from l4f_datagen.cli import main

main()
