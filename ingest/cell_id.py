"""Cell identities from the numbers that networks and cell lists give them (3GPP TS 23.003, sections 4.3 and 19.6)."""

from enum import StrEnum

import polars as pl

from ingest.attachment import Rat

BITS = {Rat.GERA: 32, Rat.UTRA: 28, Rat.EUTRA: 28, Rat.NR: 36}
"""Of the whole number: LAC and CI, RNC-ID and C-ID, ECI, NCI."""


class CellIdForm(StrEnum):
    """How a feed writes a cell's identity."""

    CONTRACT = "contract"
    """As the contract: lower-case hex, padded with zeros."""
    DECIMAL = "decimal"
    """The whole number in decimal: LAC * 65536 + CI, RNC-ID * 65536 + C-ID, ECI or NCI."""


def spell_cell_ids(rats: pl.Series, numbers: pl.Series) -> pl.Series:
    """Cell identities as the contract spells them; null where the technology is none or the number too big for it.

    >>> spell_cell_ids(pl.Series(["EUTRA", "GERA", "UTRA"]), pl.Series([10485898, 10485898, 1 << 28])).to_list()
    ['0a0008a', '00a0008a', None]
    """
    table = pl.DataFrame({"rat": rats, "number": numbers.cast(pl.Int64, strict=False)})
    # Cells are few and rows are many.
    distinct = table.unique().drop_nulls()
    spelled = pl.Series("cell_id", [_spelled(rat, number) for rat, number in distinct.iter_rows()], dtype=pl.String)
    found = table.join(distinct.with_columns(spelled), on=["rat", "number"], how="left", maintain_order="left")
    return found["cell_id"]


def _spelled(rat: str, number: int) -> str | None:
    bits = BITS.get(Rat(rat)) if rat in set(Rat) else None
    if bits is None or not 0 <= number < 1 << bits:
        return None
    return f"{number:0{bits // 4}x}"
