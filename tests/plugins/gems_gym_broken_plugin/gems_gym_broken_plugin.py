"""A plugin that can't be imported, as one made for another version of a library: nothing else may suffer from it."""


def broken() -> None:
    """Do nothing, since this is never reached."""


raise RuntimeError("no such wire")
