"""Config schemas of the commands, and validation of a command line against them."""
