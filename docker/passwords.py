"""Print a `.env` with fresh passwords, for docker-compose.yaml and for lockstep on the host.

python docker/passwords.py > .env
"""

import base64
import secrets

ROLES = ("owner", "scorer", "releaser", "analyst")
OTHERS = ("ADMIN", "AIRFLOW", "MLFLOW")

passwords = {role.upper(): secrets.token_urlsafe(24) for role in ROLES}
for name, word in {**passwords, **{name: secrets.token_urlsafe(24) for name in OTHERS}}.items():
    print(f"{name}_PASSWORD={word}")
print(f"AIRFLOW_JWT_SECRET={secrets.token_urlsafe(64)}")
print(f"AIRFLOW_API_SECRET={secrets.token_urlsafe(32)}")
print(f"AIRFLOW_FERNET_KEY={base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}")
print("# For lockstep on the host, against the same services:")
for role in ROLES:
    address = f"lockstep_{role}:{passwords[role.upper()]}@127.0.0.1:5432/lockstep"
    print(f"LOCKSTEP_{role.upper()}_URL=postgresql://{address}")
