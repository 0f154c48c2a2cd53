"""The subcommands of ``metrabs-train``: arguments, and one call into the library that does the work."""
