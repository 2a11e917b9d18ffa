"""The sample: four schedules over a small pipeline that reads feeds, finds what matters in them and reports."""
