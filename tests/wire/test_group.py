"""What travels in a group id, and what an app wrote there."""

import pytest

from flwr_resam.wire.group import Group

SECRET = "0123456789abcdef" * 2


@pytest.mark.parametrize("own", ["", "3", "mine", "a-b.c", "resam-", "resam--x", "resam-mine", "é\n\0"])
@pytest.mark.parametrize("secret", ["", SECRET])
@pytest.mark.parametrize(("training", "number"), [(None, 0), ("a1", 1), ("ü-", 10**17)])
def test_what_was_put_together_is_taken_apart(own, secret, training, number):
    group = Group(own, secret, training, number)
    assert Group.of(str(group)) == group


@pytest.mark.parametrize("text", ["resam", "resam-0", f"resam-{SECRET[1:]}", "resam-.a.0", "resam-.a.x", f"x-{SECRET}"])
def test_anything_else_is_the_apps(text):
    assert Group.of(text) == Group(text)
