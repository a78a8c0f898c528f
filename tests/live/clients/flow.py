"""What each client's script is given, and how it hands back its result."""
import json
import os

URL = os.environ["GATEWAY"]
USER, PASSWORD, TOKEN = (os.environ[name] for name in ("LIVY_USER", "LIVY_PASSWORD", "TOKEN"))
AUTH = (USER, PASSWORD)


def done(**result):
    """The last line of the output, which the test reads."""
    print(json.dumps(result), flush=True)
