"""twisted.web with requests that stream both ways, limits and honest aborts."""
