"""The verb `ui`: the dataset in a browser, read only, on this machine.

Not here: pages and who may ask for them (`gristmill.ui`). Invariant: the address with the token goes to standard output and nowhere else.
"""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.console.session import answer, open_dataset, tell

PORT = 8377


def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0: any that is free")] = PORT,
) -> None:
    """Show the dataset in a browser, read only, on this machine."""
    from gristmill.core.errors import MissingExtra, Stopped

    pipeline, dataset = open_dataset()
    try:
        from gristmill.ui import app, guard, serve
    except ModuleNotFoundError as error:
        raise MissingExtra(f'ui needs {error.name}, which is not installed; pip install "gristmill[ui]"') from None
    keys = guard.new_keys()
    at = serve.listen(port)
    number = at.getsockname()[1]
    address = f"http://{serve.HOST}:{number}{keys.root}/?{guard.TOKEN}={keys.token}"
    answer({"url": address, "port": number}, lambda: [address])
    tell("open this address; Ctrl-C ends it")
    try:
        serve.serve(app.make(pipeline.config, dataset, keys, number), at)
    except (KeyboardInterrupt, Stopped) as error:
        raise typer.Exit(error.exit_code if isinstance(error, Stopped) else 130) from None
