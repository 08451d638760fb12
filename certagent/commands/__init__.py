"""One file per subcommand. Each returns a document; printing it and the exit status are `certagent.cli`'s."""
