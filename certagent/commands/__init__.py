"""One file per subcommand. Each returns a document; printing it and the exit status are `certagent.cli`'s."""


class UnableError(Exception):
    """A command could not do its work: the message is one sentence for a person.

    The exit status is 1; 2 where trying again is of no use before somebody has changed something.
    """

    def __init__(self, sentence: str, *, is_lasting: bool = False) -> None:
        super().__init__(sentence)
        self.status = 2 if is_lasting else 1
