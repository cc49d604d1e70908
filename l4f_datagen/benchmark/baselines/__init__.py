"""Other methods that find the object, each small, run on the same images."""
