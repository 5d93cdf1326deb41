"""The errors that a user can mend; each carries the exit code of the command line.

They repeat the names of ``fusion_core.errors`` because this package stands alone and imports none of the others.
"""

from __future__ import annotations


class FusionError(Exception):
    """An error that a user can mend: one sentence that names the file or field and the mend."""

    exit_code = 1


class ConfigError(FusionError):
    """A setting, option or argument is wrong."""

    exit_code = 2


class DataError(FusionError):
    """Data are missing, malformed or out of place."""

    exit_code = 3


class MissingAssetError(FusionError):
    """A tool, an optional package or a file that a metric needs is not installed."""

    exit_code = 4
