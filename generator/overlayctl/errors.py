"""What ends a verb with a sentence for a person."""


class Failure(Exception):
    """The verb can't do what was asked; the text says what is wrong, where, and what to do. Exit status 3."""
