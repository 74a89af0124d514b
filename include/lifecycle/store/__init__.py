"""Where state lives: objects with put-if-absent, Delta tables, receipts and the ledger."""
