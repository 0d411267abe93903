"""What evaluations give: results by image, error rates with intervals, differences, confusion, neighbours, files."""
