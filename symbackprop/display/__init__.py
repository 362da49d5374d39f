"""Networks and derivations for the eye: MathML, HTML, Markdown and diagrams."""
