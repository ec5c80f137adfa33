"""The bully election: of all live nodes the highest leads (Garcia-Molina 1982)."""
