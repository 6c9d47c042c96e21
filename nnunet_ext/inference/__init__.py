"""Using trained models: predictions and what they tell about themselves, looking inside, exporting."""
