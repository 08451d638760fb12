"""One file per subcommand. Each returns a document; printing it and the exit status are `certagent.cli`'s."""


class UnableError(Exception):
    """A command could not do its work: the message is one sentence for a person, the exit status is 1."""
