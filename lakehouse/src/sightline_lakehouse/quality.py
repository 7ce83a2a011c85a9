"""The quality gate: bad rows go to quarantine, Great Expectations gives the verdict.

Spark tags every row with the checks that it breaks (checks.py) and copies tagged rows to ``quarantine/<table>``, which holds
exactly the bad rows of the last gate. Great Expectations then judges a bounded part of the table in memory: up to
ROWS_PER_PATTERN rows of every combination of broken checks, so that each expectation that some row of the table breaks fails
there too, while its cost does not grow with the table. The gate works on a classic session and over Spark Connect.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from sightline_contract.errors import StorageError
from sightline_lakehouse.checks import GATED_LAYERS, suite_document, tagged_rows_sql
from sightline_lakehouse.ddl import path_identifier, table_location
from sightline_lakehouse.tables import ALL_TABLES, Column, Layer, Table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

GATED_TABLES: Final = tuple(table for table in ALL_TABLES if table.layer in GATED_LAYERS)
ROWS_PER_PATTERN: Final = 10_000
SCANS_AT_ONCE: Final = 2


@dataclass(frozen=True)
class TableVerdict:
    """What the gate found in one table. ``failed`` counts rows by the name of the check that they break."""

    table: str
    success: bool
    rows: int
    quarantined: int
    failed: dict[str, int]
    seconds: float
    result: dict[str, Any]  # Great Expectations' own validation result


@dataclass(frozen=True)
class GateReport:
    """The gate's verdict over all its tables."""

    tables: tuple[TableVerdict, ...]
    seconds: float

    @property
    def success(self) -> bool:
        """Whether every table passed."""
        return all(verdict.success for verdict in self.tables)

    def write(self, folder: Path) -> None:
        """Write ``quality.json`` for machines and ``quality.md`` for people."""
        folder.mkdir(parents=True, exist_ok=True)
        document = asdict(self) | {"success": self.success}
        (folder / "quality.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (folder / "quality.md").write_text(_markdown(self), encoding="utf-8")


def quarantine_table(table: Table) -> Table:
    """Where bad rows of ``table`` go: its columns, none of them required, and the checks that the row breaks."""
    columns = tuple(Column(c.name, c.type, c.description, nullable=True) for c in table.columns)
    failed = Column("failed_checks", "array<string>", "Checks that the row breaks.")
    return Table(
        Layer.QUARANTINE,
        table.name,
        f"One row per row of {table.full_name} that failed a check at the last quality gate.",
        (*columns, failed),
        key=table.key,
        may_repeat=True,
    )


def run_quality_gate(
    spark: SparkSession, root: str, out: Path | None = None, tables: tuple[Table, ...] = GATED_TABLES
) -> GateReport:
    """Judge the tables below ``root``; also write the report into the folder ``out`` where it is given.

    Raises StorageError for a table that is not there or lacks a column.
    """
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=SCANS_AT_ONCE) as pool:
        scans = [pool.submit(_scan, spark, root, table) for table in tables]
        judge = _Judge()  # its import takes seconds: Spark scans meanwhile
        verdicts = tuple(_verdict(table, scan.result(), judge) for table, scan in zip(tables, scans, strict=True))
    report = GateReport(verdicts, time.monotonic() - started)
    if out is not None:
        report.write(out)
    return report


@dataclass(frozen=True)
class _Scan:
    """Rows to judge, and the number of rows in the table of each combination of broken checks."""

    rows: pd.DataFrame
    patterns: dict[tuple[str, ...], int]
    seconds: float


def _scan(spark: SparkSession, root: str, table: Table) -> _Scan:
    """Tag the table's rows, quarantine the bad ones, bring up to ROWS_PER_PATTERN of each pattern here."""
    from pyspark.errors import AnalysisException

    started = time.monotonic()
    place = table_location(root, table)
    try:
        rows, patterns = _tagged_rows(spark, root, table)
    except AnalysisException as error:
        said = str(error).partition("\n")[0]
        raise StorageError(f"{place}: cannot be judged ({said}): check the table root") from error
    return _Scan(rows, patterns, time.monotonic() - started)


def _tagged_rows(spark: SparkSession, root: str, table: Table) -> tuple[pd.DataFrame, dict[tuple[str, ...], int]]:
    from pyspark.sql import Window
    from pyspark.sql.functions import col, row_number

    tagged = spark.sql(tagged_rows_sql(table, path_identifier(table_location(root, table))))
    # Ordered by key: rows of equal key stay together.
    rank = row_number().over(Window.partitionBy("failed_checks").orderBy(*table.key))
    rows = tagged.withColumn("rank", rank).where(col("rank") <= ROWS_PER_PATTERN).drop("rank").toPandas()
    patterns = dict(Counter(tuple(checks) for checks in rows.pop("failed_checks")))
    if ROWS_PER_PATTERN in patterns.values():  # there may be more than were brought
        counted = tagged.groupBy("failed_checks").count().collect()
        patterns = {tuple(row["failed_checks"]): row["count"] for row in counted}
    _quarantine(spark, root, table, tagged, any(patterns))
    return rows, patterns


def _verdict(table: Table, scan: _Scan, judge: _Judge) -> TableVerdict:
    started = time.monotonic()
    result = judge.validate(table, scan.rows)
    failed: Counter[str] = Counter()
    for checks, count in scan.patterns.items():
        failed.update(dict.fromkeys(checks, count))
    return TableVerdict(
        table=table.full_name,
        success=bool(result["success"]) and not failed,
        rows=sum(scan.patterns.values()),
        quarantined=sum(count for checks, count in scan.patterns.items() if checks),
        failed=dict(sorted(failed.items())),
        seconds=scan.seconds + time.monotonic() - started,
        result=result,
    )


def _quarantine(spark: SparkSession, root: str, table: Table, tagged: DataFrame, any_bad: bool) -> None:
    """Make the quarantine table hold the bad rows, and nothing else."""
    place = table_location(root, quarantine_table(table))
    if any_bad or _exists(spark, place):
        bad = tagged.where("size(failed_checks) > 0")
        bad.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(place)


def _exists(spark: SparkSession, place: str) -> bool:
    from pyspark.errors import AnalysisException

    try:
        spark.sql(f"DESCRIBE DETAIL {path_identifier(place)}").collect()
    except AnalysisException:
        return False
    return True


class _Judge:
    """Great Expectations, imported and set up once a gate, without a project folder and without sending usage data."""

    def __init__(self) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        self._suite = gx.ExpectationSuite
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self._source = context.data_sources.add_pandas("rows")

    def validate(self, table: Table, rows: pd.DataFrame) -> dict[str, Any]:
        """Great Expectations' result of the table's suite over the rows, as its JSON document."""
        batches = self._source.add_dataframe_asset(table.full_name).add_batch_definition_whole_dataframe("rows")
        batch = batches.get_batch({"dataframe": rows})
        outcome: Any = batch.validate(self._suite(**suite_document(table)), result_format="BASIC")
        result: dict[str, Any] = outcome.to_json_dict()
        return result


def _markdown(report: GateReport) -> str:
    lines = [
        "# Quality gate",
        "",
        f"{'Passed' if report.success else 'Failed'} in {report.seconds:.1f} s.",
        "",
        "| Table | Verdict | Rows | Quarantined | Broken checks |",
        "|---|---|---:|---:|---|",
    ]
    for verdict in report.tables:
        broken = ", ".join(f"`{check}` ({count})" for check, count in verdict.failed.items())
        passed = "passed" if verdict.success else "failed"
        lines.append(f"| {verdict.table} | {passed} | {verdict.rows} | {verdict.quarantined} | {broken} |")
    return "\n".join(lines) + "\n"
