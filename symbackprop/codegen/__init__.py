"""Printers of equations as programs: one file a target, and what they share."""
