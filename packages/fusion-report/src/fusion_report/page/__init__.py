"""The page of results: one HTML file with tables, charts and a clip browser, that needs no network and no server."""

from fusion_report.page.build import PageSummary, write_page
from fusion_report.page.weight import Limits

__all__ = ["Limits", "PageSummary", "write_page"]
