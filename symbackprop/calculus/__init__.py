"""Functions from equations to equations: differentiate, rewrite, index."""
