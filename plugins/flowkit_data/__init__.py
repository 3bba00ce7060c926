"""Data sources: toys of the plane, handwritten digits, arrays and tables, folders of images."""
