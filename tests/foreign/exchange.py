"""An authorization server with a token exchange of its own (authgent-server, PyPI) on loopback: it takes an ID token of a trusted
issuer for subject token, here the broker's. Takes the broker's URL, registers one client as RFC 7591 has it, prints { issuer,
client_id, client_secret } on one line, and stays until its standard input closes."""

import asyncio
import json
import os
import socket
import sys

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
os.environ.update(
    AUTHGENT_SERVER_URL=issuer,
    AUTHGENT_DATABASE_URL="sqlite+aiosqlite://",
    AUTHGENT_EXCHANGE_TOKEN_TTL="300",
    AUTHGENT_TRUSTED_OIDC_ISSUERS=json.dumps([sys.argv[1]]),
    AUTHGENT_TRUSTED_OIDC_AUDIENCE=issuer,
    AUTHGENT_TELEMETRY="0",
)

import httpx  # noqa: E402
import uvicorn  # noqa: E402
from authgent_server import app  # noqa: E402

# Its housekeeping has the one connection of an SQLite database in common with its requests, and would roll them back.
app._CLEANUP_INTERVALS.clear()


async def main() -> None:
    server = uvicorn.Server(uvicorn.Config(app.create_app(), log_level="critical", access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with httpx.AsyncClient(base_url=issuer, timeout=30) as http:
        answer = await http.post(
            "/register",
            json={
                "client_name": "hallpass",
                "grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"],
                "scope": "contacts:eu:read contacts:eu:write",
                "token_endpoint_auth_method": "client_secret_basic",
                "allowed_resources": ["https://crm.example/api"],
            },
        )
        answer.raise_for_status()
        client = answer.json()
    print(
        json.dumps({"issuer": issuer, "client_id": client["client_id"], "client_secret": client["client_secret"]}),
        file=shown,
        flush=True,
    )
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.should_exit = True
    await serving


# Its log goes to standard output.
shown = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
asyncio.run(main())
