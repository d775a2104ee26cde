"""Faults on a real socket between the scripts and a local server, and the oracle that judges what came of them."""
