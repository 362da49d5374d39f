"""The command line: `symbackprop derive | generate | train | check FILE`. `main` reads the arguments, one file does each command."""
