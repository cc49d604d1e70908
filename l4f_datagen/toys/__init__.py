"""toy-cars: the small domain that ships with the tool."""
