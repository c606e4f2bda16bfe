"""The base of types that one module alone may make: the privacy boundary is drawn with them (shared/adr/0003)."""

from __future__ import annotations

from typing import NoReturn


class Sealed:
    """What is made once and then neither changed, extended, copied nor pickled.

    A subclass compares a seal that only its maker's module holds, and stores its attributes through `_store`.
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        if Sealed not in cls.__bases__:
            raise TypeError(f"{cls.__mro__[1].__name__} can't be subclassed")

    def _store(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} can't be changed")

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} can't be copied or pickled; make it again where it is needed")
