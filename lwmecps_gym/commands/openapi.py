"""`lwmecps openapi`: the API's document, without a server."""

import json
import sys
from typing import Annotated

import typer


def openapi(
    page: Annotated[
        bool, typer.Option("--page", help="As the page of the docs, in Markdown, instead.")
    ] = False,
) -> None:
    """Print the OpenAPI document of the REST API as JSON."""
    from lwmecps_gym.serve_app.reference import render_page
    from lwmecps_gym.serve_app.routes import make_routes

    document = make_routes().openapi()
    sys.stdout.write(render_page(document) if page else json.dumps(document, indent=2) + "\n")
