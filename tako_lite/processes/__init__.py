"""Worker processes: fork servers, children, and the groups that they form. Nothing here knows about runs."""
