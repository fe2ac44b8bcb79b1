"""Reports of inversions: one page with data, density, assumptions and findings."""

from skgrav.reporting._findings import Finding
from skgrav.reporting._provenance import provenance
from skgrav.reporting._report import Report, report

__all__ = ["Finding", "Report", "report"]
