"""Print a `.env` with fresh passwords, for docker-compose.yaml and for lockstep on the host.

python docker/passwords.py > .env
"""

import argparse
import base64
import secrets

ROLES = ("owner", "scorer", "releaser", "analyst")
OTHERS = ("ADMIN", "AIRFLOW", "MLFLOW")


def lines() -> list[str]:
    """What the file holds."""
    drawn = {name: secrets.token_urlsafe(24) for name in (*map(str.upper, ROLES), *OTHERS)}
    addresses = {
        role.upper(): f"lockstep_{role}:{drawn[role.upper()]}@127.0.0.1:5432/lockstep"
        for role in ROLES
    }
    return [
        *(f"{name}_PASSWORD={word}" for name, word in drawn.items()),
        f"AIRFLOW_JWT_SECRET={secrets.token_urlsafe(64)}",
        f"AIRFLOW_API_SECRET={secrets.token_urlsafe(32)}",
        f"AIRFLOW_FERNET_KEY={base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}",
        "# For lockstep on the host, against the same services:",
        *(f"LOCKSTEP_{name}_URL=postgresql://{address}" for name, address in addresses.items()),
    ]


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print("\n".join(lines()))
