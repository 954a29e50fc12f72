"""Tables of results as pandas DataFrames and Arrow tables. Both libraries are imported on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sedkit.errors import SedkitError
from sedkit.install import install_remedy

if TYPE_CHECKING:
    import pandas
    import pyarrow

ARROW_TYPES = {"score": "float64", "onset": "float64", "offset": "float64"}  # others are text


def dataframe(columns: Mapping[str, Sequence[Any]]) -> pandas.DataFrame:
    """A DataFrame of these columns.

    Raises
    ------
    SedkitError
        If pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise SedkitError("a DataFrame needs pandas: pip install pandas") from None
    return pandas.DataFrame(dict(columns))


def arrow(columns: Mapping[str, Sequence[Any]]) -> pyarrow.Table:
    """An Arrow table of these columns, with the same types if it is empty.

    Raises
    ------
    SedkitError
        If pyarrow is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise SedkitError(f"an Arrow table needs pyarrow: {install_remedy('formats')}") from None
    fields = [(name, getattr(pyarrow, ARROW_TYPES.get(name, "string"))()) for name in columns]
    return pyarrow.table(dict(columns), pyarrow.schema(fields))
