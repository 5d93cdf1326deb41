"""The commands of ``fusion report`` that are about a study's results folder."""
