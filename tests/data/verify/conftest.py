"""What `segkit data verify` finds."""

import json

import pytest


@pytest.fixture
def verified(segkit):
    """`verified(root, *arguments)`: exit code and {kind: {place below the root: detail}} of a dataset."""

    def verified(root, *arguments):
        code, out, errors = segkit("data", "verify", *arguments, "--json")
        assert errors == ""
        found = {
            entry["title"]: {
                each["place"].removeprefix(f"{root}/"): each["detail"].replace(f"{root}/", "")
                for each in entry["found"]
            }
            for entry in json.loads(out)["entries"]
        }
        return code, found

    return verified
