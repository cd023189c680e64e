"""Tables of an experiment as CSV and Parquet, for whoever goes on from there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from experiments.evaluation.repeat import Table


def write(folder: Path, tables: Mapping[str, Table]) -> list[Path]:
    """`NAME.csv` and `NAME.parquet` in `folder` for each table; what stood there under these names goes."""
    written = []
    for name, columns in tables.items():
        folder.mkdir(parents=True, exist_ok=True)
        table = pa.table({key: pa.array(values) for key, values in columns.items()})
        text, binary = folder / f"{name}.csv", folder / f"{name}.parquet"
        csv.write_csv(table, text)
        parquet.write_table(table, binary)
        written += [text, binary]
    return written
