"""The text form of a network: one equation a line, as on a blackboard. `tokens` reads words, `grammar` reads lines, `builder` makes tensors."""
