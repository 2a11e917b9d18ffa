"""`make torture`: real processes under a seeded storm, and an accountant who believes only the tables and the jobs."""
