"""What a store's client says is told without what a server said, and with whether it may pass."""

import pytest

from gristmill.core import buckets


def error(name, text, base=Exception):
    return type(name, (base,), {})(text)


SECRET = "<Key>AKIA-SECRET</Key>"


@pytest.mark.parametrize(
    ("raised", "told", "may_pass"),
    [
        (error("GenericError", "Error performing GET: error sending request"), "no answer, or one that was cut", True),
        (
            error("ConnectionRefusedError", "Connection refused", OSError),
            "no answer, or one that was cut (ConnectionRefused)",
            True,
        ),
        (
            error("GenericError", "Error performing PUT http://169.254.169.254/latest/api/token in 1 s: timed out"),
            "no credentials were found, in storage, the environment or by the machine's metadata service",
            False,
        ),
        (
            error("GenericError", "the credential provider was not enabled"),
            "no credentials were found, in storage, the environment or by the machine's metadata service",
            False,
        ),
        (
            error("GenericError", "Server returned non-2xx status code: 503 Slow Down"),
            "503",
            True,
        ),
        (error("ValueError", "anything"), "no answer, or one that was cut", False),
    ],
)
def test_what_went_wrong_is_told_with_whether_it_may_pass(raised, told, may_pass):
    assert buckets.why(raised) == (told, may_pass)


def test_what_a_server_says_is_not_told():
    raised = error("GenericError", f"Server returned non-2xx status code: 403 Forbidden: {SECRET}")
    assert "AKIA" not in buckets.why(raised)[0]
