"""The vendor's own open-source server on loopback, with Postgres below it and a mock model behind it.

It is the oracle: what the product and tests/local_server/ do is compared with what this server does.
"""
