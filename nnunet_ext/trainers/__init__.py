"""The only place that subclasses `nnUNetTrainer`. Importing this package imports nothing heavy."""
