"""Verify one webhook with standardwebhooks (PyPI), which shares no code with what signed it.

Takes one JSON argument: secret, now (seconds), headers, body. Prints the body, or exits 1 with the reason.
"""

import datetime
import json
import sys

import standardwebhooks.webhooks as library


def main() -> int:
    case = json.loads(sys.argv[1])

    class Clock(datetime.datetime):
        """Stands still at the moment of the case; the library has no argument for it."""

        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(case["now"], tz)

    library.datetime = Clock
    try:
        body = library.Webhook(case["secret"]).verify(case["body"], case["headers"])
    except library.WebhookVerificationError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(body))
    return 0


if __name__ == "__main__":
    sys.exit(main())
