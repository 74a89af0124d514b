"""A version's way to its users: the fold of the ledger, what follows from it, and making it true."""
