"""The errors that a user can mend; each carries the exit code of the command line."""

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
    """Weights, an optional package or a tool is not installed."""

    exit_code = 4


class GateFailedError(FusionError):
    """A measured value did not reach the bound that was asked for."""

    exit_code = 5
