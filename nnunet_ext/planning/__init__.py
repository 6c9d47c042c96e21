"""What a dataset's plans need for two stages: configurations, and how coarse and how much, from the labels alone."""
