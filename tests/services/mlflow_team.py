"""The MLflow server of a team: PostgreSQL behind it, artifacts through its proxy, and users with passwords."""

import os
import secrets
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from mlflow.exceptions import MlflowException

from tests.chaos.server import Server
from tests.services.postgres import Postgres, why_missing

AUTH = """[mlflow]
default_permission = {permission}
database_uri = {address}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


def why_no_team() -> str | None:
    """Why there can be no such server here; None where there can."""
    if missing := [name for name in ("psycopg", "flask_wtf") if not find_spec(name)]:
        return f"MLflow server with users: no {' and '.join(missing)} (pip install 'mlflow[auth]' psycopg)"
    return why_missing()


@contextmanager
def environment(**variables: str):
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


class TeamServer(Server):
    """The server and its database. Who has no other permission on an experiment of others has `permission`."""

    def __init__(self, folder: Path, permission: str = "READ") -> None:
        super().__init__(folder)
        self.postgres = Postgres()
        self.postgres.start()
        self.store = self.postgres.create("tracking")
        self.passwords = {"admin": secrets.token_hex(8)}
        (folder / "auth.ini").write_text(AUTH.format(permission=permission, address=self.postgres.create("users")))
        self.options = ["--app-name", "basic-auth"]
        self.variables = {
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.passwords["admin"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        }

    def credentials(self, user: str) -> dict[str, str]:
        """Environment variables of a user."""
        return {USER: user, PASSWORD: self.passwords[user]}

    def add_user(self, user: str) -> None:
        """Create a user."""
        self.passwords[user] = secrets.token_hex(8)
        with self.administering() as client:
            client.create_user(user, self.passwords[user])

    @contextmanager
    def administering(self):
        """Provide the administrator's client."""
        from mlflow.server.auth.client import AuthServiceClient

        with environment(**self.credentials("admin")):
            yield AuthServiceClient(self.uri)

    def permit(self, user: str, experiment: str, permission: str) -> None:
        """Let a user do no more and no less with an experiment; the administrator's `DENY` takes everything away."""
        with self.administering() as client:
            with suppress(MlflowException):  # there is none
                client.revoke_user_permission(user, "experiment", experiment)
            client.grant_user_permission(user, "experiment", experiment, permission)

    def remove(self) -> None:
        """Stop both and delete the database."""
        self.stop()
        self.postgres.remove()
