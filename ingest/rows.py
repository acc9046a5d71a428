"""The one shape in which every reader gives cell-attachment rows, whatever the file or topic they came from."""

import polars as pl

from ingest.attachment import FIELD_NAMES, TIME_FIELDS

LAYOUT = "layout_refusal"
"""The column that says why a row could not even be taken apart (a Refusal), null for a row whose values can be judged."""
INSTANT = pl.Datetime("us", "UTC")
NO_TIME = -(1 << 63)
"""How a missing time is written among microseconds since 1970 UTC."""
ROW_TABLE = pl.Schema(
    {**{name: INSTANT if name in TIME_FIELDS else pl.String() for name in FIELD_NAMES}, LAYOUT: pl.String()}
)
"""The contract's columns in their order (text as it was sent, times as instants), then `layout_refusal`."""
