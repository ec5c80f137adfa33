"""Names: who serves registers a reference under one, who asks has it resolved.

The naming service keeps names as long as it lives. A servant looks now and then whether its name
still leads to it, and binds it again if not: so a new naming service knows it within a moment.
"""

from __future__ import annotations

from typing import Any

import CosNaming
import omniORB
from omniORB import CORBA

from apps.corba.orb import failure, said
from apps.kit.address import Address
from apps.kit.outcome import Refused

BOOK = "Ledger.Book"
"""As `nameclt resolve` takes it: an id and a kind."""
_PATH = [CosNaming.NameComponent(*BOOK.split("."))]


class Names:
    """The naming service at an address; whoever asks it anything connects anew if need be."""

    def __init__(self, orb: Any, address: Address, patience: float) -> None:
        """It has `patience` seconds for each answer."""
        self._patience = patience
        self._where = address
        self._context: Any = orb.string_to_object(f"corbaloc::{address}/NameService")
        self._narrowed: Any = None

    def resolve(self, patience: float | None = None) -> Any:
        """Give the book's reference; Refused if nobody knows it, or nobody is there to ask."""
        try:
            return self._root(patience).resolve(_PATH)
        except CosNaming.NamingContext.NotFound:
            raise Refused(f"the naming service at {self._where} has no {BOOK} yet") from None
        except CORBA.SystemException as error:
            self._narrowed = None
            # A question changes nothing, whatever became of it.
            raise Refused(f"no naming service at {self._where}: {said(error)}") from error

    def bind(self, reference: Any) -> bool:
        """Have the book's name lead to this reference; whether it did not before. CallFailed."""
        try:
            if self._root(None).resolve(_PATH)._is_equivalent(reference):
                return False
        except CosNaming.NamingContext.NotFound:
            pass
        except CORBA.SystemException as error:
            self._narrowed = None
            raise failure(error) from error
        try:
            self._root(None).rebind(_PATH, reference)
        except CORBA.SystemException as error:
            self._narrowed = None
            raise failure(error) from error
        return True

    def answers(self) -> bool:
        """Whether it does."""
        try:
            self._root(None).list(1)
        except (CORBA.SystemException, CosNaming.NamingContext.NotFound):
            self._narrowed = None
            return False
        return True

    def _root(self, patience: float | None) -> Any:
        milliseconds = max(1, round((self._patience if patience is None else patience) * 1e3))
        omniORB.setClientCallTimeout(self._context, milliseconds)
        if self._narrowed is None:
            self._narrowed = self._context._narrow(CosNaming.NamingContext)
        omniORB.setClientCallTimeout(self._narrowed, milliseconds)
        return self._narrowed
