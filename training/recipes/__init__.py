"""One short module per experiment; each has a ``CONFIG`` and shows the command that runs it."""
