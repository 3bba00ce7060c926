"""Data sources: 2-D toys, digits, arrays and tables, image folders."""
