"""Distributed objects over CORBA: a ledger found by its name, called, and calling back."""
