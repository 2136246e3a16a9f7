"""The report (stage 13): one HTML file with tables, pictures and sounds in it."""
