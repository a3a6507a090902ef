"""/docs: a page that lists the routes. It loads nothing, from here or elsewhere: the full description is /openapi.json."""

from __future__ import annotations

from html import escape

from fastapi import FastAPI
from starlette.responses import HTMLResponse

_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "X-Content-Type-Options": "nosniff"}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}td{{padding:.2em 1em .2em 0;vertical-align:top}}
</style>
<h1>{title}</h1>
<p>Bodies, parameters and schemas: <a href="/openapi.json">/openapi.json</a>, for any OpenAPI viewer.</p>
<table>{rows}</table></html>
"""


def install(app: FastAPI) -> None:
    """Serve the page at /docs; the routes that ``app`` has when it is asked for are on it."""

    async def docs() -> HTMLResponse:
        described = app.openapi()
        rows = "".join(
            f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td>"
            f"<td>{escape(operation.get('description', operation.get('summary', '')))}</td></tr>"
            for path, operations in described["paths"].items()
            for method, operation in operations.items()
        )
        return HTMLResponse(_PAGE.format(title=escape(described["info"]["title"]), rows=rows), headers=_HEADERS)

    app.add_api_route("/docs", docs, methods=["GET"], include_in_schema=False)
