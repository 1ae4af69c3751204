"""Pages of a long list."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flask import request, url_for


@dataclass(frozen=True, slots=True)
class Page:
    """One page: `number` counts from 1, `size` is rows a page, `total` rows in all."""

    number: int
    size: int
    total: int = 0

    @classmethod
    def of_request(cls, size: int) -> Page:
        """The page named by ``?page=``; anything odd is the first."""
        text = request.args.get("page", "1")
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 1
        return cls(max(1, number), size)

    def with_total(self, total: int) -> Page:
        return replace(self, total=total)

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size

    @property
    def first(self) -> int:
        return min(self.offset + 1, self.total)

    @property
    def last(self) -> int:
        return min(self.offset + self.size, self.total)

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.size))

    def link(self, number: int) -> str:
        """The address of another page of the same list, filters kept."""
        assert request.endpoint is not None
        arguments = {**(request.view_args or {}), **request.args.to_dict(), "page": number}
        return url_for(request.endpoint, **arguments)
