"""One module per source of truth about a machine. A probe returns readings and never raises."""
