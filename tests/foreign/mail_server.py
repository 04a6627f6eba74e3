"""A mail server (aiosmtpd, PyPI) that takes mail over TLS from whoever signs in, and keeps each message as a file.

Takes one JSON argument: folder (where messages go, as 1.json, 2.json …: from, to, data, tls, user), certificate, key, user,
password, implicit (TLS from the first byte instead of STARTTLS). While a file `busy` is in the folder it answers 451. Prints its
port once it serves, and ends when its standard input does.
"""

import asyncio
import json
import os
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Keeper:
    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.count = 0

    async def handle_DATA(self, server, session, envelope):
        if (self.folder / "busy").exists():
            return "451 Come back later"
        self.count += 1
        message = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "data": envelope.content.decode(),
            "tls": server.transport.get_extra_info("sslcontext") is not None,
            "user": session.auth_data.login.decode() if session.auth_data else None,
        }
        # Whole, or not there.
        part = self.folder / "part"
        part.write_text(json.dumps(message))
        part.rename(self.folder / f"{self.count}.json")
        return "250 Taken"


async def main() -> None:
    case = json.loads(sys.argv[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(case["certificate"], case["key"])
    keeper = Keeper(pathlib.Path(case["folder"]))
    implicit = case.get("implicit", False)

    def authenticate(server, session, envelope, mechanism, data):
        known = LoginPassword(case["user"].encode(), case["password"].encode())
        # Not handled here: the library says 535.
        return AuthResult(success=data == known, handled=False, auth_data=data)

    def protocol():
        return SMTP(
            keeper,
            hostname="localhost",
            tls_context=None if implicit else context,
            require_starttls=not implicit,
            auth_required=True,
            auth_require_tls=not implicit,
            authenticator=authenticate,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context if implicit else None)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    # A session that hangs would be waited for.
    os._exit(0)


asyncio.run(main())
