"""The usual layers and networks, built from the public calls and nothing else. One file a family."""
