"""Steps of training, and what makes them slower or faster."""
