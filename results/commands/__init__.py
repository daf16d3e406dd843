"""The command bel-results, a module a subcommand."""
