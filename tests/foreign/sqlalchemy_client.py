"""What SQLAlchemy does with the URL of a credential, which is the first line of its input: one JSON line for what it may, one for what
it may not, and, after the second line of input, for the same connection and for a new one."""
import json
import sys

from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError


def tell(connection, statement):
    try:
        rows = connection.execute(text(statement))
        told = {"rows": [list(row) for row in rows]}
    except DBAPIError as error:
        told = {"error": type(error).__name__, "sqlstate": getattr(error.orig, "sqlstate", None), "text": str(error.orig)}
    print(json.dumps(told), flush=True)


# No second try hides that a connection is lost.
engine = create_engine(sys.stdin.readline().strip(), pool_pre_ping=False, isolation_level="AUTOCOMMIT")
connection = engine.connect()
tell(connection, "select current_user::text, cents from prices")
tell(connection, "insert into prices values (3, 1)")
sys.stdin.readline()
tell(connection, "select cents from prices")
engine.dispose()
try:
    engine.connect().close()
    print(json.dumps({"rows": []}))
except DBAPIError as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error.orig)}))
