"""Data sets on Kaggle, through kagglehub and the user's own account."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from facevoice.errors import DownloadError, MissingExtraError

_REMEDY: Final = (
    "Create an API token in Kaggle's settings, then set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and "
    "KAGGLE_KEY."
)


def fetch_kaggle(handle: str, into: Path) -> None:
    """Bring the data set `handle` (owner/name) to the folder `into`.

    kagglehub resumes, checks and unpacks by itself.

    Raises:
        MissingExtraError: kagglehub is not installed.
        DownloadError: no credentials, or kagglehub could not get it.
    """
    kagglehub = _import_kagglehub()
    url = f"https://www.kaggle.com/datasets/{handle}"
    try:
        if kagglehub.config.get_kaggle_credentials() is None:
            raise DownloadError(handle, url, "Kaggle needs an account.", _REMEDY)
        kagglehub.dataset_download(handle, output_dir=str(into))
    except DownloadError:
        raise
    except Exception as error:
        # kagglehub passes on whatever its parts raise; there is no common base.
        raise DownloadError(
            handle,
            url,
            f"kagglehub failed ({type(error).__name__}: {error}).",
            "Check the account's access to the data set, then run the same command again.",
        ) from error


def _import_kagglehub() -> Any:
    try:
        import kagglehub
        import kagglehub.config
    except ImportError as error:
        raise MissingExtraError("downloading from Kaggle", "data") from error
    return kagglehub
