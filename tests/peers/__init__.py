"""Real peers for the tests: servers, senders, receivers and a browser, each on free loopback ports, each torn down.

`tests.conftest` makes fixtures of them. A peer that is not installed fails the test that needs it, with one clear line:
a skipped test would claim that something works.
"""
