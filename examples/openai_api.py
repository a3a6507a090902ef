"""One agent by the OpenAI API's own Python client (``pip install openai``), against `orca agent`, token by token.

ORCA_URL=http://127.0.0.1:8080 ORCA_MODEL=gpt-4o python examples/openai_api.py
"""

from __future__ import annotations

import os

from openai import OpenAI


def main() -> None:
    """Ask, print the answer as it comes, and say which run it is."""
    with OpenAI(base_url=f"{os.environ['ORCA_URL']}/v1", api_key=os.environ.get("ORCA_API_KEY", "none")) as client:
        chunks = client.chat.completions.create(
            model=os.environ.get("ORCA_MODEL", "gpt-4o"),
            messages=[{"role": "user", "content": "Is tea or coffee the better gift? One sentence."}],
            max_completion_tokens=100,
            stream=True,
            stream_options={"include_usage": True},
        )
        run = None
        for chunk in chunks:
            run = chunk.id
            for choice in chunk.choices:
                print(choice.delta.content or "", end="", flush=True)
            if chunk.usage is not None:
                print(f"\n{chunk.usage.total_tokens} tokens")
    print(f"run {run}: GET /v1/runs/{run}, and its proof under /v1/runs/{run}/proof")


if __name__ == "__main__":
    main()
