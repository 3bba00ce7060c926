"""The abstract interfaces, one a file, each with its mathematics. Import them from `flowkit`."""
