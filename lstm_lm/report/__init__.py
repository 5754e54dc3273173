"""Reports on runs: read their folders, compare them, draw their figures and write ``report.html``."""
