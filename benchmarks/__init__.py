"""How fast OccFeat is and what memory it takes, beside plain ways."""
