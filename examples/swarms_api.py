"""A swarm by the Swarms API's own Python client (``pip install swarms-client``), against `orca agent`.

ORCA_URL=http://127.0.0.1:8080 ORCA_MODEL=gpt-4o python examples/swarms_api.py
"""

from __future__ import annotations

import os

from swarms_client import SwarmsClient


def main() -> None:
    """Run two agents one after the other and print what each said."""
    model = os.environ.get("ORCA_MODEL", "gpt-4o")
    # Without a key the agent listens on loopback only and asks for none; the client wants some text all the same.
    with SwarmsClient(base_url=os.environ["ORCA_URL"], api_key=os.environ.get("ORCA_API_KEY", "none")) as client:
        answer = client.swarms.run(
            name="market-note",
            swarm_type="SequentialWorkflow",
            task="Is tea or coffee the better gift?",
            agents=[
                {"agent_name": "Analyst", "model_name": model, "system_prompt": "Give one argument.", "max_tokens": 100},
                {"agent_name": "Editor", "model_name": model, "system_prompt": "Sum up in one sentence.", "max_tokens": 100},
            ],
        )
    said = answer["output"]
    for message in said if isinstance(said, list) else []:
        print(f"{message['role']}: {message['content']}")
    print(f"run {answer['job_id']}: {answer['status']}, {answer['usage']}")


if __name__ == "__main__":
    main()
