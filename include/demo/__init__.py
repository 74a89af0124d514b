"""The demo: the flights of 2013 replayed through the running stack."""
