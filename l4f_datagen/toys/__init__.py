"""The two small domains that ship with the tool: toy-cars and toy-fish."""
