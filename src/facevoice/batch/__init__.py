"""Folders and lists of files: found, analysed in parallel, remembered, in order."""

from __future__ import annotations

from facevoice.batch.file import AnalyzerSetup, FileAnalyzer, FileResult
from facevoice.batch.find import MEDIA_EXTENSIONS, FoundFile, find_files, find_media
from facevoice.batch.run import (
    BACKENDS,
    BatchPlan,
    Progress,
    ProgressCallback,
    analyze_files,
    analyze_paths,
)

__all__ = [
    "BACKENDS",
    "MEDIA_EXTENSIONS",
    "AnalyzerSetup",
    "BatchPlan",
    "FileAnalyzer",
    "FileResult",
    "FoundFile",
    "Progress",
    "ProgressCallback",
    "analyze_files",
    "analyze_paths",
    "find_files",
    "find_media",
]
