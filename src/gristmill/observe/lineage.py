"""Lineage: OpenLineage events of a run: START, then COMPLETE, FAIL or ABORT, to a file or a server.

The job is the pipeline; inputs are what its sources read, outputs the dataset's table and its exports. The id of a run is made from its
dataset, its number and when the number was taken, so a run that is gone on with keeps it. Not here: what a source is called
(`observe.places`), sending and giving up (`observe.channels`). Invariants: events validate against the schemas of OpenLineage 2-0-2 and,
for gristmill's own facets, against `facets.json` beside this file; no credential and no document text is in them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from gristmill.config.monitoring import OpenLineage
from gristmill.core import access
from gristmill.core.batch import TABLE_SCHEMA
from gristmill.core.source import WHOLE, Window
from gristmill.observe.channels import Outbox
from gristmill.observe.events import Json, RunBegins, RunFailed, Silent
from gristmill.observe.memory import outcomes
from gristmill.observe.places import Place

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent
    from openlineage.client.transport import Transport

FACETS = "urn:gristmill:openlineage:1-0-0"  # the $id of facets.json
_RETRY = {"total": 2, "connect": 2, "read": 2, "backoff_factor": 0.3, "status_forcelist": [500, 502, 503, 504], "allowed_methods": ["POST"]}  # fmt: skip


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What lineage says of a pipeline, whatever its runs do. sources, exports: name -> where."""

    version: str
    job: str
    description: str
    table: Place
    sources: Mapping[str, list[Place]]
    exports: Mapping[str, Place]
    window: Window = WHOLE


class Lineage(Silent):
    """Listens to a run, and posts its events."""

    def __init__(
        self, settings: OpenLineage, described: Described, folder: Path, redact: Callable[[str], str], outbox: Outbox
    ) -> None:
        self.settings, self.described, self._redact, self._outbox = settings, described, redact, outbox
        self._file = folder / settings.file if settings.file is not None else None
        self._begins: RunBegins | None = None
        self._transport: Transport | None = None

    def run(self, begins: RunBegins) -> None:
        """START."""
        self._begins = begins
        self._post("START", begins)

    def report(self, report: Json) -> None:
        """COMPLETE, or FAIL where the gate refused."""
        if self._begins is not None and report.get("run") == self._begins.run:
            refused = next((e["message"] for e in report["errors"] if e["code"] == "gate.refused"), "")
            self._post("FAIL" if refused else "COMPLETE", self._begins, report, error=refused)
            self._begins = None

    def failed(self, failure: RunFailed) -> None:
        """FAIL, or ABORT where a signal stopped it."""
        if self._begins is not None:
            self._post("ABORT" if failure.stopped else "FAIL", self._begins, None, failure.message, failure.places)
            self._begins = None

    def _post(
        self, kind: str, begins: RunBegins, report: Json | None = None, error: str = "", places: str = ""
    ) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = self._redact(error)
        self._outbox.post(
            f"openlineage {kind}",
            lambda: self._send(make_event(kind, now, self.settings, self.described, begins, report, (message, places))),
        )

    def _send(self, event: RunEvent) -> None:
        if self._transport is None:
            self._transport = self._open()
        self._transport.emit(event)

    def _open(self) -> Transport:
        from openlineage.client.transport.file import FileConfig, FileTransport
        from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport

        if self._file is not None:
            access.append(self._file).close()  # made with our mode, whatever the umask says
            return FileTransport(FileConfig(log_file_path=str(self._file), append=True))
        split = urlsplit(self.settings.url or "")
        config = HttpConfig(
            url=f"{split.scheme}://{split.netloc}",
            endpoint=split.path.lstrip("/") + (f"?{split.query}" if split.query else "") or "api/v1/lineage",
            timeout=5.0,
            retry=_RETRY,
        )
        if self.settings.api_key is not None:
            config.auth = ApiKeyTokenProvider({"apiKey": self.settings.api_key})
        return HttpTransport(config)


def bring_in(settings: OpenLineage) -> None:
    """Import what events are made and sent with."""
    import openlineage.client.event_v2
    import openlineage.client.facet_v2

    if settings.file is None:
        import openlineage.client.transport.http
    else:
        import openlineage.client.transport.file  # noqa: F401


def run_id(begins: RunBegins) -> str:
    """Give the id of a run: the same whenever and wherever it is asked for."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{begins.dataset}#{begins.run}@{begins.claimed}"))


def producer(version: str) -> str:
    """Give what made an event."""
    return f"urn:gristmill:{version}"


def make_event(
    kind: str,
    now: str,
    settings: OpenLineage,
    described: Described,
    begins: RunBegins,
    report: Json | None,
    error: tuple[str, str],
) -> RunEvent:
    """Make one event; `error`: message and code places."""
    from openlineage.client import facet_v2 as facets
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState

    by = producer(described.version)
    message, places = error
    run: dict[str, Any] = {
        "processing_engine": facets.processing_engine_run.ProcessingEngineRunFacet(
            version=described.version, name="gristmill", openlineageAdapterVersion=described.version, producer=by
        ),
        "gristmill_pipeline": _own(
            by, "PipelineRunFacet", {"run": begins.run, "config": begins.config, "code": begins.code, "resumed": begins.resumed}
        ),
    }  # fmt: skip
    since, until = _time(described.window.since), _time(described.window.until)
    if since is not None:
        run["nominalTime"] = facets.nominal_time_run.NominalTimeRunFacet(
            nominalStartTime=since, nominalEndTime=until, producer=by
        )
    if message:
        run["errorMessage"] = facets.error_message_run.ErrorMessageRunFacet(
            message=message, programmingLanguage="PYTHON", stackTrace=places or None, producer=by
        )
    if report is not None:
        run["gristmill_report"] = _own(by, "ReportRunFacet", _told(report))
    job: dict[str, Any] = {
        "jobType": facets.job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration="GRISTMILL", jobType="PIPELINE", producer=by
        )
    }
    if described.description:
        job["documentation"] = facets.documentation_job.DocumentationJobFacet(
            description=described.description, contentType="text/plain", producer=by
        )
    return RunEvent(
        eventTime=now,
        eventType=RunState(kind),
        run=Run(runId=run_id(begins), facets=run),
        job=Job(namespace=settings.namespace, name=described.job, facets=job),
        inputs=_inputs(by, described, report),
        outputs=_outputs(by, described, report if kind == "COMPLETE" else None),
        producer=by,
    )


def _inputs(by: str, described: Described, report: Json | None) -> list[InputDataset]:
    from openlineage.client import facet_v2 as facets
    from openlineage.client.event_v2 import InputDataset

    made = []
    for source, places in described.sources.items():
        counts = report["sources"].get(source) if report is not None else None
        told: dict[str, Any] = {}
        if counts is not None and len(places) == 1:  # of several places it is not known which gave what
            told["dataQualityMetrics"] = facets.data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
                columnMetrics={}, rowCount=counts["read"], producer=by
            )
            told["gristmill_source"] = _own(by, "SourceInputFacet", {"source": source, **outcomes(counts)})
        made += [InputDataset(place.namespace, place.name, inputFacets=told) for place in places]
    return made


def _outputs(by: str, described: Described, report: Json | None) -> list[OutputDataset]:
    from openlineage.client import facet_v2 as facets
    from openlineage.client.event_v2 import OutputDataset

    fields = [
        facets.schema_dataset.SchemaDatasetFacetFields(name=field.name, type=str(field.type)) for field in TABLE_SCHEMA
    ]
    about: dict[str, Any] = {
        "schema": facets.schema_dataset.SchemaDatasetFacet(fields=fields, producer=by),
        "storage": facets.storage_dataset.StorageDatasetFacet(storageLayer="delta", fileFormat="parquet", producer=by),
    }
    told: dict[str, Any] = {}
    statistics = facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    if report is not None:
        if report["snapshot"] is not None:
            about["version"] = facets.dataset_version_dataset.DatasetVersionDatasetFacet(
                datasetVersion=str(report["snapshot"]), producer=by
            )
        rows = report["counts"]["published"]
        told["outputStatistics"] = statistics(rowCount=rows, size=report["bytes_published"], producer=by)
    made = [OutputDataset(described.table.namespace, described.table.name, facets=about, outputFacets=told)]
    exported = report.get("exports", {}) if report is not None else {}
    for name, place in described.exports.items():
        chunks = exported.get(name, {}).get("chunks_written")
        given: dict[str, Any] = {}
        if chunks is not None:
            given["outputStatistics"] = statistics(fileCount=chunks, producer=by)
        made.append(OutputDataset(place.namespace, place.name, outputFacets=given))
    return made


def _told(report: Json) -> Json:
    quality = report.get("quality", {}).get("quality_score")
    facts = {"status": report["status"], "counts": outcomes(report["counts"]), "seconds": round(report["seconds"], 3)}
    return facts | {"qualityScore": quality, "snapshot": report["snapshot"], "datasetRows": report["dataset_rows"]}


def _own(by: str, name: str, facts: Json) -> Json:
    """Give a facet of gristmill's own."""
    known = {key: value for key, value in facts.items() if value is not None}
    return {"_producer": by, "_schemaURL": f"{FACETS}#/$defs/{name}", **known}


def _time(text: str | None) -> str | None:
    """Give the end of a window as a time, if it is one."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
