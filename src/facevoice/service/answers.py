"""What the service says, as models that OpenAPI describes."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from facevoice.service.jobs import Job, JobState


class Problem(BaseModel):
    """What is wrong."""

    kind: str = Field(
        description="Stays the same for the same problem, such as `too_large`: for programs.",
        examples=["too_large"],
    )
    message: str = Field(description="What is wrong: for people.")
    remedy: str = Field(description="What helps; empty where nothing is known to.")


class ErrorAnswer(BaseModel):
    """Every error has this form."""

    error: Problem


class JobProblem(BaseModel):
    """Why a file could not be analysed."""

    kind: str = Field(
        description="Such as `unreadable_media`, `empty_media`, `no_stream`, `too_long`, "
        "`private_address`, `fetch_failed`; `internal` where nobody foresaw it.",
        examples=["unreadable_media"],
    )
    message: str = Field(description="What is wrong and what helps: for people.")


class JobAnswer(BaseModel):
    """How far a job is."""

    id: str = Field(description="Names the job in the paths of its answers.")
    name: str = Field(description="What reports call the file.")
    state: JobState = Field(
        description="`waiting`, `running`, `done`; `failed` where the file can't be analysed. A "
        "file that is fetched waits again between that and its analysis. Done and failed jobs have "
        "a report."
    )
    created_s: float = Field(description="When it was asked for, in seconds since 1970 (UTC).")
    started_s: float | None = Field(description="When it was begun, the last time.")
    finished_s: float | None = Field(description="When it was answered.")
    duration_s: float | None = Field(description="Length of the file, once that is known.")
    done_s: float = Field(description="Seconds of the file that are done.")
    num_windows: int = Field(description="Windows that `/v1/jobs/{id}/windows` gives by now.")
    outcome: str | None = Field(
        description="Of a file that gets one answer: `match`, `conflict`, `undecided`, `flat` or "
        "`insufficient`. Long files are told by their moments, in the report."
    )
    error: JobProblem | None = Field(description="Of a job that failed.")


class JobList(BaseModel):
    """Jobs of one key."""

    jobs: list[JobAnswer] = Field(description="The newest first.")


class Address(BaseModel):
    """A file on the web."""

    model_config = ConfigDict(extra="forbid")

    address: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description="`https://…` or `http://…`, on the public internet. User and password in it "
        "are refused; queries, as of signed addresses, are not shown to anybody.",
        examples=["https://example.org/talk.mp4"],
    )


class Health(BaseModel):
    """Whether the service is well."""

    status: str = Field(examples=["ok"])
    version: str = Field(description="Of facevoice.")


def job_answer(job: Job) -> JobAnswer:
    """What a client may know of a job."""
    error = None
    if job.error_kind is not None:
        error = JobProblem(kind=job.error_kind, message=job.error_message or "")
    return JobAnswer(
        id=job.id,
        name=job.name,
        state=job.state,
        created_s=job.created_s,
        started_s=job.started_s,
        finished_s=job.finished_s,
        duration_s=job.duration_s,
        done_s=job.done_s,
        num_windows=job.num_windows,
        outcome=job.outcome,
        error=error,
    )
