"""Diagrams: a network's named nodes as a layered graph, in SVG, DOT and Mermaid."""
