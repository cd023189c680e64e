"""Tables of an experiment as CSV and Parquet, for whoever goes on from there."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from experiments.evaluation.repeat import Tables


def write(folder: Path, tables: Tables) -> list[Path]:
    """`NAME.csv` and `NAME.parquet` in `folder` for each table; those of an earlier run go."""
    for old in folder.glob("*.parquet"):
        if old.with_suffix(".csv").exists():  # ours, not something else that is kept there
            old.with_suffix(".csv").unlink()
            old.unlink()
    written = []
    for name, columns in tables.items():
        folder.mkdir(parents=True, exist_ok=True)
        table = pa.table({key: pa.array(values) for key, values in columns.items()})
        text, binary = folder / f"{name}.csv", folder / f"{name}.parquet"
        csv.write_csv(table, text)
        parquet.write_table(table, binary)
        written += [text, binary]
    return written


def read(folder: Path) -> Tables:
    """What `write` has written there; nothing where it has not."""
    return {
        path.stem: {
            key: column.to_numpy() for key, column in zip(table.column_names, table.columns, strict=True)
        }
        for path in sorted(folder.glob("*.parquet"))
        for table in (parquet.read_table(path),)
    }
